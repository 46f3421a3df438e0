"""Intent classification: what the speaker wants, as one of the labels of the training split."""

from tasks.task import Task

TASK = Task(
    name="intent",
    instruction="What does the speaker want?",
    column="intent",
    kind="classification",
    metrics=("accuracy", "macro_f1"),
    primary="accuracy",
)
