"""Training cost of discrete tokens against continuous features: the efficiency claim of the study, measured.

A ratio is taken between two cells that differ in their features alone and have both reached their plateau; one that
was stopped by its budget has no time to convergence, so it gives no ratio.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.report.words import describe

PARTS = {"seconds_to_best": "time", "best_epoch": "epochs", "tokens_to_best": "tokens", "flops_to_best": "FLOPs"}
"""Costs up to the best evaluation, which is where training had converged, and what they are called."""
SAME = ("task", "variant", "corpus", "fold", "encoder", "layer", "decoder", "recipe", "init", "seed")


def training_ratios(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each discrete configuration: its cost to convergence as a share of the continuous arm's.

    Means over the tasks and seeds in which both have converged; the cells that gave no ratio are counted.
    """
    continuous: dict[str, Mapping[str, Any]] = {}
    for cell in cells:
        if cell["features"] == "continuous":
            continuous.setdefault(_key(cell), cell)
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for cell in cells:
        if cell["features"] == "discrete" and _key(cell) in continuous:
            rows.setdefault(_row(cell), []).append(cell)
    lines = []
    for name, members in rows.items():
        pairs = [(cell, continuous[_key(cell)]) for cell in members]
        converged = [pair for pair in pairs if all(_converged(cell) for cell in pair)]
        left_out = len(pairs) - len(converged)
        if not converged:
            continue
        shares = []
        for cost, word in PARTS.items():
            ratios = [
                d["cost"][cost] / c["cost"][cost] for d, c in converged if d["cost"].get(cost) and c["cost"].get(cost)
            ]
            if ratios:
                shares.append(f"{word} {statistics.geometric_mean(ratios):.0%}")
        together = sorted({cell["cost"]["trials_at_once"] for pair in converged for cell in pair})
        shared = "measured alone" if together == [1] else f"trials at once: {', '.join(map(str, together))}"
        more = f"; {left_out} left out, not converged" if left_out else ""
        lines.append(
            f"{name} ÷ continuous, to convergence: {', '.join(shares)} ({len(converged)} pairs, {shared}{more})"
        )
    return lines


def _key(cell: Mapping[str, Any]) -> str:
    return json.dumps([cell[name] for name in SAME])


def _row(cell: Mapping[str, Any]) -> str:
    return describe({**cell, **dict.fromkeys(("task", "variant", "fold", "seed"))})


def _converged(cell: Mapping[str, Any]) -> bool:
    return cell["status"] == "ok" and cell["stopped"] == "plateau" and bool(cell["cost"])
