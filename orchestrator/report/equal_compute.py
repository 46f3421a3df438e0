"""Quality at equal compute: the least dev error reached so far against training FLOPs and against training seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.report import drawing, scales
from orchestrator.report.compute import COSTS, best_so_far, curves_of
from orchestrator.report.compute import equal_compute as table
from orchestrator.report.drawing import FAINT, FONT, SOFT
from orchestrator.report.panels import panels, selected

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from orchestrator.matrix import Matrix

MOST = 10
"""How many configurations are drawn."""


def has_material(matrix: Matrix) -> bool:
    """Whether two configurations of a task have learning curves."""
    return any(table(matrix, cost) for cost in COSTS)


def describe(matrix: Matrix) -> str:
    """What is ahead at the largest budget that all have spent."""
    said = {}
    for one in table(matrix):
        if (best := one.best(-1)) is not None:
            said[one.title] = f"{best.label} with {100 * best.errors[-1]:.3g} % at {scales.si(one.budgets[-1])}FLOPs"
    return f"Least dev error at equal compute; ahead at the largest budget that all have spent: {drawing.listed(said)}."


@drawing.styled
def equal_compute(matrix: Matrix) -> Figure:
    """Draws the least dev error so far as steps: what a budget buys, for every budget."""
    title = f"{matrix.space}: quality at equal compute"
    found, more = drawing.limited(
        [panel for panel in panels(matrix, first_only=True) if any(curves_of(panel, cost) for cost in COSTS)]
    )
    if not found:
        return drawing.empty(title, "no cell has a learning curve yet")
    rows, left_out = selected(found, MOST)
    kinds = {place.row: place for panel in found for cost in COSTS for place, _ in curves_of(panel, cost)}
    rows = [row for row in rows if row in kinds]
    styles = drawing.line_styles([(row, kinds[row].kind) for row in rows])
    handles = [Line2D([], [], label=kinds[row].label, **styles[row]) for row in rows]
    figure, axes = drawing.sheet(
        title,
        2 * len(found),
        4 if len(found) > 1 else 2,
        height=1.45,
        gap=(0.55, 0.85),
        handles=handles,
        notes=(
            "Steps: the least error until then, over the evaluations on dev; one line a seed. Grey line: the largest budget that "
            "all configurations of the task have spent, up to which they are compared.",
            f"{drawing.company_note(kinds.values())} FLOPs and seconds are of training the decoder; shared stages are not in them.",
            left_out,
            more,
        ),
    )
    for i, panel in enumerate(found):
        for j, (cost, name) in enumerate(COSTS.items()):
            ax = axes[2 * i + j]
            drawn = [(place, curves) for place, curves in curves_of(panel, cost) if place.row in rows]
            spent = [best_so_far(curve, cost)[-1][0] for _, curves in curves_of(panel, cost) for curve in curves]
            reach = [x for _, curves in drawn for curve in curves for x, _ in best_so_far(curve, cost)]
            scales.head(ax, panel)
            scales.quiet_grid(ax)
            if not reach:
                ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", fontsize=FONT - 1, color=SOFT)
                continue
            scales.cost_axis(ax.xaxis, reach, name, log=True, short=True)
            ax.axvline(min(spent), color=FAINT, linewidth=1, zorder=0)
            for place, curves in drawn:
                for curve in curves:
                    _steps(ax, best_so_far(curve, cost), styles[place.row], thin=len(curves) > 1)
            ax.set_ylim(bottom=0)
            ax.set_ylabel("dev error % ↓" if j == 0 else "")
    return figure


def _steps(axes: Axes, points: list[tuple[float, float]], style: dict, thin: bool) -> None:
    style = style | ({"linewidth": 0.8} if thin else {})
    xs, ys = [x for x, _ in points], [100 * y for _, y in points]
    axes.step(xs, ys, where="post", markevery=max(1, len(xs) // 5), **style)
