"""Quality at equal compute: the dev error that a configuration has reached when it has spent a budget.

Read off the learning curves: within a budget, what counts is the best evaluation that had been made by then, since the
weights of the best are kept. A budget that not every configuration has spent compares nothing, so budgets end with the
least that any of them spent in all.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.report.panels import Panel, Standing, panels
from orchestrator.report.words import is_number

if TYPE_CHECKING:
    from orchestrator.matrix import Matrix

Curve = Sequence[Mapping[str, Any]]
COSTS = {"flops": "training FLOPs", "seconds": "training seconds"}
"""The costs in which budgets are counted, by their keys in the rows of a learning curve."""
SHARES = (0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Reached:
    """A configuration at equal compute.

    Attributes:
        label: what tells it apart.
        row: its number in the layout of the matrix.
        seeds: how many curves its errors are means of.
        errors: the dev error reached within each budget, a fraction of one; None before its first evaluation.
    """

    label: str
    row: int
    seeds: int
    errors: tuple[float | None, ...]


@dataclass(frozen=True)
class EqualCompute:
    """The configurations of a task at budgets that all of them have spent.

    Attributes:
        title: of the column of the matrix.
        cost: a key of `COSTS`.
        budgets: rising, in the unit of the cost.
        lines: one a configuration, in the order of the matrix.
    """

    title: str
    cost: str
    budgets: tuple[float, ...]
    lines: tuple[Reached, ...]

    def best(self, budget: int) -> Reached | None:
        """Of the configurations, the one with the least error at a budget, given by its place."""
        known = [line for line in self.lines if line.errors[budget] is not None]
        return min(known, key=lambda line: line.errors[budget], default=None)


def best_so_far(curve: Curve, cost: str) -> list[tuple[float, float]]:
    """(cost, least dev error until then) of every evaluation; those without a number are passed over."""
    found: list[tuple[float, float]] = []
    for row in curve:
        if is_number(row.get(cost)) and is_number(row.get("dev_error")):
            error = min(row["dev_error"], found[-1][1]) if found else row["dev_error"]
            found.append((row[cost], error))
    return found


def within(curve: Curve, cost: str, budget: float) -> float | None:
    """The least dev error that had been reached when the budget was spent; None before the first evaluation."""
    return next((error for spent, error in reversed(best_so_far(curve, cost)) if spent <= budget), None)


def equal_compute(matrix: Matrix, cost: str = "flops", shares: Sequence[float] = SHARES) -> list[EqualCompute]:
    """A table for each task in which at least two configurations that hear speech have a learning curve.

    Args:
        cost: a key of `COSTS`.
        shares: the budgets, as shares of the largest that all curves of the task have spent.
    """
    found = []
    for panel in panels(matrix, first_only=True):
        curves = curves_of(panel, cost)
        if len(curves) > 1:
            least = min(best_so_far(curve, cost)[-1][0] for _, members in curves for curve in members)
            budgets = tuple(share * least for share in shares)
            lines = tuple(_reached(place, members, cost, budgets) for place, members in curves)
            found.append(EqualCompute(panel.column.title, cost, budgets, lines))
    return found


def curves_of(panel: Panel, cost: str) -> list[tuple[Standing, list[Curve]]]:
    """The learning curves of a task, one a seed, of every configuration that hears speech and has any."""
    found = []
    for place in panel.places:
        curves = [curve for cell in place.cells if best_so_far(curve := cell.get("curve") or [], cost)]
        if curves and place.kind != "none":
            found.append((place, curves))
    return found


def _reached(place: Standing, curves: Sequence[Curve], cost: str, budgets: Sequence[float]) -> Reached:
    """Means over the seeds; a mean over some of them would compare unlike things, so one without a value leaves none."""
    errors = []
    for budget in budgets:
        reached = [within(curve, cost, budget) for curve in curves]
        errors.append(None if None in reached else statistics.fmean(reached))
    return Reached(place.label, place.row, len(curves), tuple(errors))
