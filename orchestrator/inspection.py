"""Inspections: what is known of recordings once they have been decoded, remembered from run to run."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
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


COLUMNS = {
    "path": pa.string(),
    "bytes": pa.int64(),
    "changed": pa.int64(),
    "start": pa.float64(),
    "asked": pa.float64(),
    "hash": pa.string(),
    "seconds": pa.float64(),
    "rate": pa.int32(),
    "channels": pa.int32(),
    "problem": pa.string(),
}
"""A key, then its inspection."""


def remembered(folder: Path) -> dict[Key, Inspection]:
    """The inspections kept in a folder. A torn file is removed: it costs its inspections again, nothing else."""
    known: dict[Key, Inspection] = {}
    for part in sorted(folder.glob("*.parquet")):
        try:
            rows = pq.ParquetFile(part).read(list(COLUMNS)).to_pylist()
        except FileNotFoundError:
            continue
        except (pa.ArrowException, OSError):
            part.unlink(missing_ok=True)
            continue
        for values in (list(row.values()) for row in rows):
            known[tuple(values[:5])] = Inspection(*values[5:])
    return known


def remember(folder: Path, fresh: Mapping[Key, Inspection]) -> None:
    """Adds inspections to a folder, in a file of their own, so that several launches may add at once."""
    # A file that could not be read at all may be there next time.
    rows = [[*key, *asdict(one).values()] for key, one in fresh.items() if one.hash]
    if not rows:
        return
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
    columns = [pa.array(values, kind) for values, kind in zip(zip(*rows, strict=True), COLUMNS.values(), strict=True)]
    pq.write_table(pa.Table.from_arrays(columns, list(COLUMNS)), folder / f".{name}.tmp")
    (folder / f".{name}.tmp").rename(folder / f"{name}.parquet")
