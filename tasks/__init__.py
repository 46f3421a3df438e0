"""The tasks, by name. To add one: write `tasks/<name>.py` with its `TASK`, and name it here."""

from tasks import asr, emotion, intent, keyword, phoneme, translation
from tasks.task import Task

TASKS: dict[str, Task] = {
    module.TASK.name: module.TASK
    for module in (
        asr,
        phoneme,
        translation,
        intent,
        keyword,
        emotion,
    )
}

__all__ = ["TASKS", "Task"]
