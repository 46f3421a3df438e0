"""Training cost of discrete tokens against continuous features: the efficiency claim of the study, measured.

A ratio is taken between two cells that differ in their features alone and have both reached their plateau; one that
was stopped by its budget has no time to convergence, so it gives no ratio.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.report.words import NONE, is_number, show

PARTS = {
    "seconds_to_best": "time",
    "best_epoch": "epochs",
    "best_step": "steps",
    "seconds_per_epoch": "seconds an epoch",
    "tokens_per_second_of_audio": "tokens/s of audio",
    "tokens_to_best": "tokens",
    "flops_to_best": "FLOPs",
}
"""Costs up to the best evaluation, which is where training had converged, and what they are called. Time has its parts:
how many epochs are taken, and how long one of them is, which the tokens that a second of audio makes decide."""
PLACE = ("task", "variant", "corpus", "fold", "seed")
"""Over these a ratio is averaged."""
OF_THE_ARM = ("features", "downsample", "codebook", "codebook_corpus", "codebook_seed", "dedup", "bpe")
"""In these the two cells of a ratio may differ; all other coordinates are the same."""

Cell = Mapping[str, Any]


def training_ratios(cells: Sequence[Cell], coordinates: Sequence[str]) -> list[str]:
    """A line for each discrete configuration against each continuous one with the same other coordinates.

    Geometric means over the tasks, corpora and seeds in which both have converged; pairs that gave no ratio are counted.

    Args:
        coordinates: that tell the rows of the matrix apart.
    """
    rows: dict[str, list[Cell]] = {}
    for cell in cells:
        rows.setdefault(_key(cell, coordinates), []).append(cell)
    same = [name for name in coordinates if name not in OF_THE_ARM]
    named = [name for name in coordinates if len({json.dumps(row[0][name]) for row in rows.values()}) > 1]
    lines = []
    for discrete in (row for row in rows.values() if row[0]["features"] == "discrete"):
        for continuous in (row for row in rows.values() if row[0]["features"] == "continuous"):
            if _key(discrete[0], same) == _key(continuous[0], same):
                lines += _line(discrete, continuous, named)
    return lines


def part_ratios(pairs: Iterable[tuple[Cell, Cell]]) -> dict[str, list[float]]:
    """Cost → its ratio in every pair of which both cells have converged and have it; costs of `PARTS` that some pair has."""
    found: dict[str, list[float]] = {}
    for pair in pairs:
        for cost in PARTS if all(map(converged, pair)) else ():
            one, other = (_part(cell["cost"], cost) for cell in pair)
            if one and other:
                found.setdefault(cost, []).append(one / other)
    return {cost: found[cost] for cost in PARTS if cost in found}


def _part(cost: Mapping[str, Any], part: str) -> float | None:
    if part == "seconds_per_epoch":
        seconds, epochs = _part(cost, "seconds_to_best"), _part(cost, "best_epoch")
        return seconds / epochs if seconds and epochs else None
    value = cost.get(part)
    return value if is_number(value) and value > 0 else None


def _line(discrete: Sequence[Cell], continuous: Sequence[Cell], named: Sequence[str]) -> list[str]:
    other = {_key(cell, PLACE): cell for cell in continuous}
    pairs = [(cell, other[_key(cell, PLACE)]) for cell in discrete if _key(cell, PLACE) in other]
    both = [pair for pair in pairs if all(map(converged, pair))]
    ratios = part_ratios(both)
    shares = [f"{PARTS[cost]} {statistics.geometric_mean(values):.0%}" for cost, values in ratios.items()]
    if not shares:
        return []
    together = sorted({cell["cost"]["trials_at_once"] for pair in both for cell in pair})
    shared = "measured alone" if together == [1] else f"trials at once: {', '.join(map(str, together))}"
    more = f"; {len(pairs) - len(both)} left out, not converged" if len(pairs) > len(both) else ""
    names = f"{_name(discrete[0], named)} ÷ {_name(continuous[0], named)}"
    return [f"{names}, to convergence: {', '.join(shares)} ({len(both)} pairs, {shared}{more})"]


def _name(cell: Cell, named: Sequence[str]) -> str:
    """The coordinates of a row that tell it apart: `discrete, codebook 2000, bpe 6000`."""
    said = [f"{name.replace('_', ' ')} {show(cell[name])}" for name in named if show(cell[name]) != NONE]
    return ", ".join([cell["features"], *(text for text in said if not text.startswith("features "))])


def _key(cell: Cell, names: Sequence[str]) -> str:
    return json.dumps([cell[name] for name in names])


def converged(cell: Cell) -> bool:
    """Whether a cell has a result, and its training ended at its plateau."""
    return cell["status"] == "ok" and cell["stopped"] == "plateau" and bool(cell["cost"])
