"""Unpacking: a table whose audio is in its cells becomes audio files and a table that names them.

Audio in Arrow and Parquet has no path, and everything here is known by the path and the content of files. Nothing is
decoded: a file has the bytes of its cell.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import UserError
from tasks.corpora import tables
from tasks.corpora.official import Copy

VERSION = 2
"""Raised when the same data would be unpacked otherwise."""

ROWS = 100
"""Rows in memory at a time."""

FILES = 1000
"""Audio files a folder."""

SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")

Features = dict[str, Any]

log = logging.getLogger(__name__)


def unpack(
    splits: Mapping[str, list[Path]],
    root: Path,
    target: Path,
    audio: str | None,
    copy: Copy,
    allow_outside: bool = False,
) -> tuple[Path, str]:
    """Writes every recording to a file of its own, once; done again it only looks whether that was finished.

    The folder is named by what it is made from (names, sizes and times of the files), so that other data never meets it;
    its table by what was allowed, so that leave given once is not taken for ever; and by the root, where it has paths of
    recordings that were no cells, so that a copy of the data set never has those of the first. The table is written last.
    Interrupted, it goes on with the recordings that lack.

    Args:
        splits: the files of each split, Arrow or Parquet.
        root: the folder of the data set, that no path may lead out of.
        target: where the folder is made.
        audio: the column with the audio; None for the only one there is.
        allow_outside: whether recordings that are named by paths may lie anywhere.

    Returns:
        The table, and its column with the paths. It has text cells, the name of the split in the column `split` where
        there are several, and paths relative to its folder, or absolute where audio was no cell.
    """
    files = [path for paths in splits.values() for path in paths]
    if not files:
        raise UserError(f"{copy.of}: there are no files with rows")
    features = _features(files[0])
    audio = _audio_column(files[0], features, audio, copy)
    folder = target / _fingerprint(splits, root, audio)
    name = f"table{'-partial' if copy.partial else ''}{'-outside' if allow_outside else ''}"
    anywhere, here = folder / f"{name}.parquet", folder / f"{name}-{_digest(str(root))}.parquet"
    table = next((one for one in (anywhere, here) if one.is_file()), None)
    if table is None:
        log.info("%s: its recordings are unpacked to %s", copy.of, folder)
        unpacker = _Unpacker(root, folder, audio, features, copy, allow_outside)
        rows: list[dict[str, str | None]] = []
        for split, paths in splits.items():
            told = {"split": split} if len(splits) > 1 else {}
            rows += [row | told for row in unpacker.rows(split, paths)]
        copy.check()
        table = here if any(Path(row[audio]).is_absolute() for row in rows) else anywhere
        _write_table(table, rows)
    return table, audio


def count_rows(paths: list[Path]) -> int:
    """Of some files, without reading them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    total = 0
    for file in paths:
        with _readable(file):
            if file.suffix == ".parquet":
                total += pq.read_metadata(file).num_rows
            else:
                with pa.memory_map(str(file)) as mapped:
                    total += sum(batch.num_rows for batch in pa.ipc.open_stream(mapped))
    return total


@dataclass(frozen=True)
class _Unpacker:
    """What is the same for every row; see `unpack`."""

    root: Path
    folder: Path
    audio: str
    features: Features
    copy: Copy
    allow_outside: bool

    def rows(self, split: str, paths: list[Path]) -> Iterator[dict[str, str | None]]:
        number = -1
        for path in paths:
            for batch in _batches(path):
                for row in batch.to_pylist():
                    number += 1
                    stem = f"{split}/{number // FILES:05}/{number:08}"
                    named = self._recording(row.pop(self.audio, None), stem, f"{split}, row {number + 1}")
                    if named is not None:
                        cells = {name: _text(value, self.features.get(name)) for name, value in row.items()}
                        yield cells | {self.audio: named}

    def _recording(self, cell: Any, stem: str, place: str) -> str | None:
        """Where a recording is now: below the folder, or where it was if its cell is a path."""
        content, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (None, cell)
        if content is not None:
            suffix = Path(path or "").suffix
            name = stem + (suffix.lower() if SUFFIX.fullmatch(suffix) else ".audio")
            _write(self.folder / name, content)
            return name
        if not path or not isinstance(path, str):
            self.copy.lacks("recordings are missing: their cells are empty", place)
            return None
        found = os.path.normpath(self.root / path)
        if "://" in path or not (self.allow_outside or found.startswith(f"{self.root}{os.sep}")):
            do = f"audio should be in the cells, or lie under {self.root}; else say allow_outside: true"
            self.copy.wrong(do, f"{place}: {path}")
            return None
        return found


def _write(path: Path, content: bytes) -> None:
    if path.is_file() and path.stat().st_size == len(content):
        return  # Files get their name when they are whole.
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _write_table(path: Path, rows: list[dict[str, str | None]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: pa.array([row.get(name) for row in rows], pa.large_string()) for name in columns})
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    pq.write_table(table, unfinished)
    unfinished.replace(path)


def _fingerprint(splits: Mapping[str, list[Path]], root: Path, audio: str) -> str:
    made_from = [
        [split, os.path.relpath(path, root), path.stat().st_size, path.stat().st_mtime_ns]
        for split, paths in splits.items()
        for path in paths
    ]
    return _digest([VERSION, audio, made_from])


def _digest(of: Any) -> str:
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]


def _audio_column(file: Path, features: Features, asked: str | None, copy: Copy) -> str:
    import pyarrow as pa

    schema = _schema(file)
    if asked is not None:
        if asked not in schema.names:
            raise UserError(f"{copy.of} has no column '{asked}' (named for 'audio'): it has {', '.join(schema.names)}")
        return asked
    found = [
        field.name
        for field in schema
        if (features.get(field.name) or {}).get("_type") == "Audio"
        or (pa.types.is_struct(field.type) and {"bytes", "path"} <= {one.name for one in field.type})
    ]
    if len(found) != 1:
        raise UserError(
            f"{copy.of}: name the column with the audio: columns: {{audio: …}}. "
            f"It has audio in: {', '.join(found) or 'none'}; all columns: {', '.join(schema.names)}"
        )
    return found[0]


def _features(file: Path) -> Features:
    """What `datasets` wrote about the columns of a file: {column: {"_type": "ClassLabel", "names": […]}, …}."""
    written = (_schema(file).metadata or {}).get(b"huggingface")
    if written is None:
        return {}
    features = json.loads(written).get("info", {}).get("features", {})
    return {name: one for name, one in features.items() if isinstance(one, dict)} if isinstance(features, dict) else {}


def _text(value: Any, feature: Any) -> str | None:
    """A cell as text; the number of a label as its name, −1 (no label) as None."""
    if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(value, int):
        names = feature.get("names") or []
        return str(names[value]) if 0 <= value < len(names) else None
    if isinstance(value, list):
        inner = feature.get("feature") if isinstance(feature, dict) else None
        return " ".join(_text(item, inner) or "" for item in value) or None
    return None if isinstance(value, (dict, bytes)) else tables.text(value)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        kind = "Parquet" if file.suffix == ".parquet" else "Arrow"
        raise UserError(f"{file} can't be read as {kind} (is it whole, and no stub of Git LFS?): {error}") from error


def _schema(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _readable(file):
        if file.suffix == ".parquet":
            return pq.read_schema(file)
        with pa.memory_map(str(file)) as mapped:
            return pa.ipc.open_stream(mapped).schema


def _batches(file: Path) -> Iterator[Any]:
    """Record batches of at most `ROWS` rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _readable(file):
        if file.suffix == ".parquet":
            with pq.ParquetFile(file) as opened:
                yield from opened.iter_batches(batch_size=ROWS)
        else:
            with pa.memory_map(str(file)) as mapped:
                for batch in pa.ipc.open_stream(mapped):
                    yield from (batch.slice(first, ROWS) for first in range(0, batch.num_rows, ROWS))
