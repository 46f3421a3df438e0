"""What there is: tasks, corpus readers, encoders, decoders and search spaces, for `tokengrid ls`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel
from rich.table import Table

from orchestrator import space_file
from orchestrator.decoders import DECODERS
from orchestrator.decoders import PRESETS as PRESETS_OF_DECODERS
from orchestrator.encoders import ENCODERS
from orchestrator.encoders import PRESETS as PRESETS_OF_ENCODERS
from orchestrator.encoders.hf import CHECKPOINTS
from orchestrator.errors import UserError
from tasks import TASKS
from tasks.corpora import READERS


def inventory(kind: str) -> Table:
    """A table of everything of one kind."""
    return {"tasks": _tasks, "corpora": _corpora, "encoders": _encoders, "decoders": _decoders, "spaces": _spaces}[
        kind
    ]()


def _tasks() -> Table:
    table = _table("tasks", "name", "kind", "column", "metrics", "variants")
    for task in TASKS.values():
        table.add_row(task.name, task.kind, task.column, ", ".join(task.metrics), ", ".join(task.variants))
    return table


def _corpora() -> Table:
    return _described("corpora", "reader", READERS)


def _encoders() -> Table:
    return _with_presets(_described("encoders", "kind", ENCODERS), PRESETS_OF_ENCODERS)


def _decoders() -> Table:
    return _with_presets(_described("decoders", "kind", DECODERS), PRESETS_OF_DECODERS)


def _spaces() -> Table:
    table = _table("spaces", "name", "cells", "question")
    for name, path in sorted(space_file.available().items()):
        try:
            loaded = space_file.load(path)
            table.add_row(name, str(len(loaded.cells())), loaded.question)
        except UserError as error:
            table.add_row(name, "", f"[red]{str(error).splitlines()[0]}[/]")
    return table


def _described(title: str, key: str, registry: dict[str, type]) -> Table:
    table = _table(title, key, "what it is", "settings")
    for name, model in registry.items():
        settings = [f for f in model.model_fields if f not in (key, "kind", "reader")]
        table.add_row(name, (model.__doc__ or "").strip().splitlines()[0], ", ".join(settings))
    return table


def _with_presets(table: Table, presets: Mapping[str, BaseModel]) -> Table:
    """The known checkpoints below the kinds, each with what it sets."""
    for name, config in presets.items():
        said = config.model_dump(exclude_defaults=True, exclude={"kind"}, mode="json")
        checkpoint = said.pop("checkpoint")
        table.add_row(name, CHECKPOINTS.get(checkpoint, checkpoint), ", ".join(f"{k}: {v}" for k, v in said.items()))
    return table


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
