"""Emotion recognition: how the speaker sounds, as one of the labels of the training split."""

from tasks.task import Task

TASK = Task(
    name="emotion",
    instruction="Which emotion does the speaker sound like?",
    column="emotion",
    kind="classification",
    metrics=("accuracy", "macro_f1"),
    primary="accuracy",
)
