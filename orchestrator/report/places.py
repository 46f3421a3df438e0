"""Places of the matrix: the records behind each of them, and what a row is called in words."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.report.families import folded
from orchestrator.report.layout import COLUMN, ROW, Entry, Layout, Row
from orchestrator.report.words import is_number, show

KINDS = {
    "continuous": "continuous features",
    "discrete": "discrete tokens",
    "centroids": "centroids",
    "none": "no speech",
}
"""What the kinds of features are called in a sentence; all but `none` are plurals."""

PHRASES = {
    "encoder": "{}",
    "layer": "layer {}",
    "codebook_corpus": "codebook of {}",
    "init": "after {}",
}
"""How a coordinate is written in the name of a configuration, where that is not its own name and the value."""

UNSAID = ("codebook_corpus", "decoder", "recipe", "init")
"""Coordinates that the layout leaves out where they would only tear rows apart: they are empty in every row."""


@dataclass(frozen=True)
class Place:
    """A row in a column: what is written there, and the records that it is made of, one a seed, finished or not."""

    row: int
    entry: Entry
    cells: tuple[Mapping[str, Any], ...]

    def results(self, test_set: str | None) -> list[Mapping[str, Any]]:
        """Of the finished cells on one test set."""
        return [
            result
            for cell in self.cells
            if cell["status"] == "ok"
            for result in cell["results"] or ()
            if result["test_set"] == test_set
        ]

    @property
    def finished(self) -> list[Mapping[str, Any]]:
        """Its cells that have a result."""
        return [cell for cell in self.cells if cell["status"] == "ok"]


def places(layout: Layout, cells: Sequence[Mapping[str, Any]]) -> list[list[Place]]:
    """The places of a layout, `[rows][columns]`, with their records; the trivial baseline has none.

    Args:
        cells: the records that the layout was made from.
    """
    kept, _ = folded(cells, (*COLUMN, *ROW))
    own = [row for row in layout.rows if row.kind != "baseline"]
    unsaid = {name for name in UNSAID if all(row.coordinates[name] is None for row in own)}

    def key(of: Mapping[str, Any]) -> str:
        return json.dumps([None if name in unsaid else of[name] for name in ROW])

    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in kept:
        found.setdefault((key(cell), _asked(tuple(cell[name] for name in COLUMN))), []).append(cell)
    return [
        [
            Place(
                r,
                entry,
                tuple(found.get((key(row.coordinates), _asked(column.key)), ())) if row.kind != "baseline" else (),
            )
            for column, entry in zip(layout.columns, layout.entries[r], strict=True)
        ]
        for r, row in enumerate(layout.rows)
    ]


def _asked(key: tuple[Any, ...]) -> str:
    return json.dumps(key)


def name(layout: Layout, row: Row) -> str:
    """What a row is called in a sentence: `discrete tokens (codebook 200, no bpe)`.

    Only coordinates that tell rows apart are told, and that one is empty only where another row of the kind has it.
    """
    if row.kind == "baseline":
        return "the trivial answer"
    return _with_details(KINDS.get(_kind(row), _kind(row)), layout, row)


def label(layout: Layout, row: Row) -> str:
    """The same for where there is little room: `discrete (codebook 200, no bpe)`."""
    return row.kind if row.kind == "baseline" else _with_details(_kind(row), layout, row)


def _with_details(called: str, layout: Layout, row: Row) -> str:
    details = [text for one in layout.labels[1:] if (text := _detail(layout, row, one))]
    return called + (f" ({', '.join(details)})" if details else "")


def _detail(layout: Layout, row: Row, coordinate: str) -> str:
    value = row.coordinates[coordinate]
    if coordinate == "dedup" and value is not None:
        return "repeats collapsed" if value else "repeats kept"
    if value is not None:
        return PHRASES.get(coordinate, coordinate.replace("_", " ") + " {}").format(show(value))
    alike = (other for other in layout.rows if other.kind != "baseline" and _kind(other) == _kind(row))
    contrast = coordinate in ("bpe", "init") and any(other.coordinates[coordinate] is not None for other in alike)
    return {"bpe": "no bpe", "init": "from scratch"}[coordinate] if contrast else ""


def _kind(row: Row) -> str:
    return row.coordinates["features"]


def mean_cost(of: Iterable[Place], cost: str) -> float | None:
    """Of the finished cells of some places, where it is known."""
    values = [
        cell["cost"][cost] for place in of for cell in place.finished if is_number((cell["cost"] or {}).get(cost))
    ]
    return statistics.fmean(values) if values else None
