"""Inspections: what is known of recordings once they have been decoded, remembered from run to run.

Kept as Parquet and held as Arrow tables: a corpus has hundreds of thousands of recordings, or millions of segments.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Key = tuple[str, int, int, float | None, float | None]
"""Path, bytes, time of change in nanoseconds, start, seconds: what an inspection holds for."""


@dataclass(frozen=True)
class Inspection:
    """What is known of a recording once it has been decoded.

    Attributes:
        hash: xxh3-128 of the bytes of the whole file, as hex; empty where it can't be read at all.
        seconds: of the recording or its segment, after decoding.
        rate: Hz, as stored.
        channels: as stored.
        problem: what is wrong with it, in words; None for a good recording.
    """

    hash: str
    seconds: float = 0.0
    rate: int = 0
    channels: int = 0
    problem: str | None = None


KEY = pa.schema(
    {"path": pa.string(), "bytes": pa.int64(), "changed": pa.int64(), "start": pa.float64(), "asked": pa.float64()}
)
"""The columns of a key; start and asked (the seconds that were asked for) are null for a whole file."""

COLUMNS = pa.schema(
    [
        *KEY,
        *(("hash", pa.string()), ("seconds", pa.float64()), ("rate", pa.int32())),
        *(("channels", pa.int32()), ("problem", pa.string())),
    ]
)
"""A key, then its inspection."""

PARTS = 8
"""Files of a cache above which they are merged: opening hundreds takes longer than reading them."""


def remembered(folder: Path) -> pa.Table:
    """The inspections kept in a folder (`COLUMNS`). A torn file is removed: it costs its inspections again, nothing else."""
    while True:
        parts = sorted(folder.glob("*.parquet"))
        try:
            return _read(parts)
        except FileNotFoundError:  # another launch has merged it into a new one: look again
            continue


def remember(folder: Path, fresh: Mapping[Key, Inspection]) -> pa.Table:
    """Adds inspections to a folder, in a file of their own, so that several launches may add at once; returns them all."""
    rows = [[*key, *asdict(one).values()] for key, one in fresh.items()]
    columns = zip(*rows, strict=True) if rows else [[] for _ in COLUMNS]
    table = pa.table(
        [pa.array(values, kind.type) for values, kind in zip(columns, COLUMNS, strict=True)], schema=COLUMNS
    )
    # A file that could not be read at all may be there next time.
    _write(folder, table.filter(pc.not_equal(table["hash"], "")))
    return table


def compact(folder: Path) -> None:
    """Merges the files of a cache into one, where there are many."""
    parts = sorted(folder.glob("*.parquet"))
    if len(parts) > PARTS:
        try:
            _write(folder, _read(parts))
        except FileNotFoundError:  # someone else is at it
            return
        for part in parts:
            part.unlink(missing_ok=True)


def find(known: pa.Table, asked: pa.Table) -> pa.Table:
    """Looks up inspections.

    Args:
        known: `COLUMNS`.
        asked: `KEY`, any number of times the same.

    Returns:
        `COLUMNS`, a row for each that was asked for, in its order; hash is null where nothing is known.
    """
    numbered = _joinable(asked).append_column("row", pa.array(np.arange(len(asked))))
    found = numbered.join(_joinable(known), KEY.names, join_type="left outer").sort_by("row")
    # Two launches may have looked at the same file, and seen the same.
    first = np.diff(found["row"].to_numpy(), prepend=-1) != 0
    return found.filter(pa.array(first)).select(COLUMNS.names)


def _joinable(table: pa.Table) -> pa.Table:
    """Nulls equal nothing in a join, not even nulls: a whole file starts at −1."""
    for name in ("start", "asked"):
        table = table.set_column(table.schema.get_field_index(name), name, pc.fill_null(table[name], -1.0))
    return table


def _read(parts: list[Path]) -> pa.Table:
    tables = [COLUMNS.empty_table()]
    for part in parts:
        try:
            tables.append(pq.ParquetFile(part).read(COLUMNS.names).select(COLUMNS.names).cast(COLUMNS))
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, KeyError):
            part.unlink(missing_ok=True)
    return pa.concat_tables(tables)


def _write(folder: Path, table: pa.Table) -> None:
    if len(table):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        pq.write_table(table, folder / f".{name}.tmp")
        (folder / f".{name}.tmp").rename(folder / f"{name}.parquet")
