"""Speech recognition: the words that were said."""

from tasks.task import Task

TASK = Task(
    name="asr",
    instruction="Transcribe the speech.",
    column="text",
    kind="sequence",
    metrics=("wer", "cer"),
    primary="wer",
    normaliser="basic-1",
)
