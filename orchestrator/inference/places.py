"""Places: where checkpoints are, by their content. What a checkpoint is belongs to a cell; where it is, to the store."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.stage import Stage, walk
from orchestrator.store import Store, write_atomically

CONTENT = re.compile(r"[0-9a-f+]{16,128}")


def remember(store: Store, stage: Stage) -> None:
    """Notes the places of the checkpoints that a stage was made with."""
    for one in walk(stage):
        for part in (getattr(one, "encoder", None), getattr(one, "decoder", None)):
            content, checkpoint = getattr(part, "content", ""), getattr(part, "checkpoint", "")
            if checkpoint and CONTENT.fullmatch(content):
                folder = Path(checkpoint).expanduser()
                where = str(folder.absolute()) if folder.is_dir() else checkpoint
                if recall(store, content) != where:
                    write_atomically(_note(store, content), where)


def recall(store: Store, content: str) -> str | None:
    """Where the checkpoint of a content was last seen."""
    if not CONTENT.fullmatch(content):
        return None
    try:
        return _note(store, content).read_text("utf-8")
    except OSError:
        return None


def _note(store: Store, content: str) -> Path:
    return store.root / "checkpoints" / content
