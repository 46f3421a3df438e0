"""Tables: rows of text cells out of CSV, TSV, JSON lines or Parquet, each with its place in the file."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import UserError, suggest
from tasks.corpora.problems import Problems

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True)
class Row:
    """A row: where it is (`line 12`), and its cells by column; None for an empty one.

    Bytes that are no UTF-8 arrive as lone surrogates, so that whoever reads a cell can name its place.
    """

    place: str
    cells: dict[str, str | None]


@dataclass(frozen=True)
class Table:
    """The columns of a file, in its order, and its rows."""

    columns: tuple[str, ...]
    rows: list[Row]


def read(path: Path, problems: Problems) -> Table:
    """Reads a table by the ending of its name. CSV quotes with `"`; in TSV a `"` is a character like any other.

    Problems of single rows are added to `problems`.

    Raises:
        UserError: the file is missing, of another kind, or can't be read as what it says it is.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{problems.of} should end in one of {', '.join(SUFFIXES)}: {suggest(path.name, SUFFIXES)}")
    if not path.is_file():
        near = [p.name for p in path.parent.iterdir() if p.suffix.lower() in SUFFIXES] if path.parent.is_dir() else []
        hint = suggest(path.name, near) if near else f"is the folder right? There is no table in {path.parent}"
        raise UserError(f"there is no file {path} ({hint})")
    try:
        if suffix == ".parquet":
            return _parquet(path)
        with path.open("rb") as file:
            if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                raise UserError(f"{problems.of} is in UTF-16; save it as UTF-8")
        return _json_lines(path, problems) if suffix in (".jsonl", ".ndjson") else _delimited(path, problems)
    except (OSError, ValueError, csv.Error) as error:  # ValueError: pyarrow's ArrowInvalid is one.
        raise UserError(f"{problems.of} can't be read as {suffix[1:].upper()}: {error}") from error


def _delimited(path: Path, problems: Problems) -> Table:
    dialect: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if path.suffix.lower() == ".tsv" else {}
    rows: list[Row] = []
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True, **dialect)
        header = tuple(name.strip() for name in next(reader, []))
        if not any(header):
            raise UserError(f"{problems.of} has no header: its first line should name the columns")
        for twice in sorted({name for name in header if header.count(name) > 1}):
            problems.add("two columns have the same name; rename one", f"'{twice}'")
        for cells in _lines(reader, problems):
            place = f"line {reader.line_num}"
            if len(cells) != len(header):
                problems.add(f"rows should have {len(header)} cells, as the header has", f"{place}: {len(cells)}")
            else:
                rows.append(Row(place, {k: v or None for k, v in zip(header, cells, strict=True)}))
    return Table(header, rows)


def _lines(reader: Any, problems: Problems) -> Iterator[list[str]]:
    """The lines that are not empty. A quote that is never closed ends the reading, with its place."""
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        problems.add("quotes should be closed, and doubled inside quotes", f"line {reader.line_num}: {error}")


def _json_lines(path: Path, problems: Problems) -> Table:
    columns: dict[str, None] = {}
    rows: list[Row] = []
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                problems.add("every line should be a JSON object", f"line {number}: {error}")
                continue
            if not isinstance(value, dict):
                problems.add("every line should be a JSON object", f"line {number}: a {type(value).__name__}")
                continue
            columns |= dict.fromkeys(value)
            rows.append(Row(f"line {number}", {key: text(cell) for key, cell in value.items()}))
    return Table(tuple(columns), rows)


def _parquet(path: Path) -> Table:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        rows = [Row(f"row {number}", row) for number, row in enumerate(_parquet_rows(file), 1)]
        return Table(tuple(file.schema_arrow.names), rows)


def _parquet_rows(file: Any) -> Iterator[dict[str, str | None]]:
    for batch in file.iter_batches():
        for row in batch.to_pylist():
            yield {name: text(cell) for name, cell in row.items()}


def text(value: Any) -> str | None:
    """A typed cell as text: True → `true`, 3.0 → `3`, a list → its items separated by blanks, NaN and "" → None."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return " ".join(text(item) or "" for item in value) or None
    return value if isinstance(value, str) else str(value)
