"""Phoneme recognition: the phonemes that were said, separated by blanks, in whatever alphabet the corpus has."""

from tasks.task import Task

TASK = Task(
    name="phoneme",
    instruction="Transcribe the phonemes of the speech.",
    column="phonemes",
    kind="sequence",
    metrics=("per",),
    primary="per",
)
