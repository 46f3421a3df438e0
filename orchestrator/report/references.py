"""Published figures beside ours: what is written in a place, and whether the orders agree."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.report.layout import Column, Entry


def text(cells: Sequence[Mapping[str, Any]], column: Column) -> tuple[str, float | None]:
    """The published figure of a place with its grade (`4.56 S`, or `22.75 / 20.14 S`), and its value where it is one."""
    for figure in _figures(cells, column):
        values = figure["value"] if isinstance(figure["value"], list) else [figure["value"]]
        shown = " / ".join(column.exact(value) for value in values)
        return f"{shown} {figure['grade']}", values[0] if len(values) == 1 else None
    return "", None


def _figures(cells: Sequence[Mapping[str, Any]], column: Column) -> list[dict[str, Any]]:
    return [
        figure
        for cell in cells
        for figure in cell.get("reference") or ()
        if figure["metric"] == column.metric
        and (figure["test_set"] == column.test_set or (figure["test_set"] is None and column.first))
    ]


def in_order(entries: Sequence[Entry]) -> tuple[int, int]:
    """In how many pairs of a column's entries our order is the published one, and how many pairs can be compared."""
    known = [(e.value, e.published) for e in entries if e.value is not None and e.published is not None]
    pairs = [(a, b) for a, b in itertools.combinations(known, 2) if a[1] != b[1]]
    return sum((a[0] - b[0]) * (a[1] - b[1]) > 0 for a, b in pairs), len(pairs)


def _agreement(columns: Sequence[Column], entries: Sequence[Sequence[Entry]]) -> str:
    """In how many pairs of rows our order is the published one, column by column; empty where nothing can be compared."""
    said = []
    for c, column in enumerate(columns):
        same, pairs = in_order([line[c] for line in entries])
        if pairs:
            said.append(f"{column.title} {same} of {pairs}")
    return f"pairs of rows in the published order: {', '.join(said)}" if said else ""


def notes(
    reference: Mapping[str, Any] | None, columns: Sequence[Column], entries: Sequence[Sequence[Entry]]
) -> list[str]:
    """What is said about the published figures of a space, and how ours agree with them."""
    if not reference:
        return []
    head = f"[…] published: {reference['source']} (grade {reference['grade']}: {reference['meaning']})"
    return [note for note in (head, *reference["notes"], _agreement(columns, entries)) if note]
