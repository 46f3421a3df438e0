"""Training cost of discrete tokens against continuous features: the efficiency claim of the study, measured.

A ratio is taken between two cells that differ in their features alone and have both reached their plateau; one that
was stopped by its budget has no time to convergence, so it gives no ratio.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.report.words import NONE, is_number, show

PARTS = {
    "seconds_to_best": "time",
    "best_epoch": "epochs",
    "best_step": "steps",
    "tokens_per_second_of_audio": "tokens/s of audio",
    "tokens_to_best": "tokens",
    "flops_to_best": "FLOPs",
}
"""Costs up to the best evaluation, which is where training had converged, and what they are called. Time has its parts:
how many epochs are taken, and how many tokens a second of audio makes of each."""
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


def _line(discrete: Sequence[Cell], continuous: Sequence[Cell], named: Sequence[str]) -> list[str]:
    other = {_key(cell, PLACE): cell for cell in continuous}
    pairs = [(cell, other[_key(cell, PLACE)]) for cell in discrete if _key(cell, PLACE) in other]
    converged = [pair for pair in pairs if all(_converged(cell) for cell in pair)]
    shares = []
    for cost, word in PARTS.items():
        known = [(d["cost"].get(cost), c["cost"].get(cost)) for d, c in converged]
        ratios = [d / c for d, c in known if is_number(d) and is_number(c) and d > 0 and c > 0]
        if ratios:
            shares.append(f"{word} {statistics.geometric_mean(ratios):.0%}")
    if not shares:
        return []
    together = sorted({cell["cost"]["trials_at_once"] for pair in converged for cell in pair})
    shared = "measured alone" if together == [1] else f"trials at once: {', '.join(map(str, together))}"
    more = f"; {len(pairs) - len(converged)} left out, not converged" if len(pairs) > len(converged) else ""
    names = f"{_name(discrete[0], named)} ÷ {_name(continuous[0], named)}"
    return [f"{names}, to convergence: {', '.join(shares)} ({len(converged)} pairs, {shared}{more})"]


def _name(cell: Cell, named: Sequence[str]) -> str:
    """The coordinates of a row that tell it apart: `discrete, codebook 2000, bpe 6000`."""
    said = [f"{name.replace('_', ' ')} {show(cell[name])}" for name in named if show(cell[name]) != NONE]
    return ", ".join([cell["features"], *(text for text in said if not text.startswith("features "))])


def _key(cell: Cell, names: Sequence[str]) -> str:
    return json.dumps([cell[name] for name in names])


def _converged(cell: Cell) -> bool:
    return cell["status"] == "ok" and cell["stopped"] == "plateau" and bool(cell["cost"])
