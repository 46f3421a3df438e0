"""Annotations: what is said about the recordings, for one task; and selections: which utterances train something.

Both are leaves: their content is read from the corpus before the graph is made, and they are known by its hash.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.stage import Stage, runtime
from orchestrator.store import Artifact

BATCH = 1 << 16
"""Rows of a column that are hashed at once; part of what the hash is."""

log = logging.getLogger(__name__)


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
    if not rows["id"].is_monotonic_increasing:
        rows = rows.sort_values("id")
    rows = rows.reset_index(drop=True).astype(object)
    rows = rows.where(rows.notna(), None)
    return Annotations(column=column, content=digest_columns(rows), corpus=corpus), rows


def scorable(corpus: str, column: str, table: pd.DataFrame, says: Callable[[str], bool]) -> pd.DataFrame:
    """The table without what can't be scored: targets that say nothing, such as `...`, are None, and counted in the log.

    Args:
        column: which may lack.
        says: whether a target says something as it is scored.
    """
    if column not in table:
        return table
    silent = [target is not None and target == target and not says(target) for target in table[column]]  # no NaN
    if not any(silent):
        return table
    log.warning("%s: %d of '%s' say nothing (blank, or punctuation alone): left out", corpus, sum(silent), column)
    return table.assign(**{column: table[column].mask(silent, None)})


def selection(corpus: str, ids: Iterable[str]) -> tuple[Selection, list[str]]:
    """The stage for a set of utterances, with their ids, sorted."""
    chosen = sorted(ids)
    return Selection(content=digest_columns({"id": chosen}), corpus=corpus), chosen


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


def digest_columns(columns: Mapping[str, Sequence[str | None] | Sequence[float] | pd.Series] | pd.DataFrame) -> str:
    """The hash of columns of text or of numbers, by name: 32 hex digits.

    It depends on the values and their order alone, not on what holds them. A missing text is not an empty one; a missing
    number is NaN. Whole columns are hashed at once, since row by row takes seconds on a corpus of this field.
    """
    hasher = hashlib.sha256()
    for name, values in columns.items():
        hasher.update(json.dumps([name, len(values)]).encode())
        # Batch by batch, so that a column of long texts is never in memory twice.
        for at in range(0, len(values), BATCH):
            for part in _bytes(pa.array(values[at : at + BATCH], from_pandas=True)):
                hasher.update(part)
    return hasher.hexdigest()[:32]


def _bytes(column: pa.Array | pa.ChunkedArray) -> tuple[memoryview | np.ndarray, ...]:
    """What a column says, as bytes: doubles, or the lengths of texts (−1 for a missing one) and their letters."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        numbers = column.to_numpy(zero_copy_only=False).astype("<f8")
        return (np.where(np.isnan(numbers), np.nan, numbers),)  # NaN has many forms
    text = column.cast(pa.large_string())
    filled = pc.fill_null(text, "")
    ends = np.frombuffer(filled.buffers()[1], "<i8")[filled.offset :][: len(filled) + 1]
    lengths = np.where(text.is_valid().to_numpy(zero_copy_only=False), np.diff(ends), -1)
    return lengths.astype("<i8"), memoryview(filled.buffers()[2] or b"")[ends[0] : ends[-1]]
