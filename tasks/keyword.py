"""Keyword spotting: which of the known words is said."""

from tasks.task import Task

TASK = Task(
    name="keyword",
    instruction="Which keyword is said?",
    column="keyword",
    kind="classification",
    metrics=("accuracy", "macro_f1"),
    primary="accuracy",
)
