"""Annotations: what is said about the recordings, for one task; and selections: which utterances train something.

Both are leaves: their content is read from the corpus before the graph is made, and they are known by its hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from orchestrator.stage import Stage, runtime
from orchestrator.store import Artifact


@dataclass(frozen=True, kw_only=True)
class Annotations(Stage):
    """The rows of one annotation column: `annotations.parquet` with id, speaker, split and target.

    Only the column that a task reads is part of it, so another task's column can grow or be mended at no cost.
    """

    name: ClassVar[str] = "annotations"

    column: str
    content: str
    corpus: str = runtime("")

    @property
    def readable(self) -> str:
        return f"{self.corpus}-{self.column}"


@dataclass(frozen=True, kw_only=True)
class Selection(Stage):
    """Which utterances train an encoder, a codebook or a BPE: `ids.json`. Their texts are no part of it."""

    name: ClassVar[str] = "selection"

    content: str
    corpus: str = runtime("")

    @property
    def readable(self) -> str:
        return f"{self.corpus}-train"


def annotations(corpus: str, column: str, table: pd.DataFrame) -> tuple[Annotations, pd.DataFrame]:
    """The stage for one column, with its rows: those where the column is set, in the order of their ids."""
    rows = table.loc[table[column].notna(), ["id", "speaker", "split", column]].rename(columns={column: "target"})
    rows = rows.astype(object).where(rows.notna(), None).sort_values("id", ignore_index=True)
    return Annotations(column=column, content=digest(rows.itertuples(index=False, name=None)), corpus=corpus), rows


def selection(corpus: str, ids: Iterable[str]) -> tuple[Selection, list[str]]:
    """The stage for a set of utterances, with their ids, sorted."""
    chosen = sorted(ids)
    return Selection(content=digest(chosen), corpus=corpus), chosen


def write_annotations(folder: Path, rows: pd.DataFrame) -> None:
    """Writes the table of an annotations artifact."""
    rows.to_parquet(folder / "annotations.parquet", index=False)


def read_annotations(artifact: Artifact) -> pd.DataFrame:
    """The table of an annotations artifact: id, speaker, split, target."""
    return pd.read_parquet(artifact.file("annotations.parquet"))


def write_selection(folder: Path, ids: list[str]) -> None:
    """Writes the ids of a selection artifact."""
    (folder / "ids.json").write_text(json.dumps(ids), "utf-8")


def digest(rows: Iterable[object]) -> str:
    """The hash of a sequence of plain values: 32 hex digits."""
    hasher = hashlib.sha256()
    for row in rows:
        hasher.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return hasher.hexdigest()[:32]
