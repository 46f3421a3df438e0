"""Score against the cost of training, with the Pareto front: what is the best to be had for that much."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.report import drawing, marks, scales
from orchestrator.report.drawing import INK
from orchestrator.report.front import front
from orchestrator.report.panels import Panel, Standing, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from orchestrator.matrix import Matrix

COST = "seconds_to_best"


def has_material(matrix: Matrix) -> bool:
    """Whether some task has two configurations with a score and a training time."""
    return any(len(_places(panel)) > 1 for panel in panels(matrix))


def describe(matrix: Matrix) -> str:
    """The front of each task, the cheapest first."""
    said = {}
    for panel in panels(matrix):
        places = _places(panel)
        texts = [
            f"{place.label} {panel.column.text(place.entry.value)} after {scales.si(place.cost(COST))} s"
            for place in (places[i] for i in _front(panel, places))
        ]
        if texts:
            said[f"{panel.column.title} ({panel.column.heading})"] = ", ".join(texts)
    return f"Score against training seconds with the Pareto front: {drawing.listed(said)}."


@drawing.styled
def pareto(matrix: Matrix) -> Figure:
    """Draws the score of every configuration over the seconds of training to its best evaluation."""
    title = f"{matrix.space}: score against training time"
    found, more = drawing.limited([panel for panel in panels(matrix) if _places(panel)])
    if not found:
        return drawing.empty(title, "no cell has a score and a training time yet")
    every = [place for panel in found for place in _places(panel)]
    handles = drawing.kind_handles(place.kind for place in every)
    figure, axes = drawing.sheet(
        title,
        len(found),
        handles=[
            *handles,
            Line2D([], [], color=INK, linewidth=1, label="Pareto front"),
        ],
        notes=(
            f"{drawing.spread_note(found)} Training time is to the evaluation whose weights are kept; shared stages are not in it.",
            f"Pareto front: the best score to be had for the time. {drawing.company_note(every)} {drawing.budget_note(every)}",
            more,
        ),
    )
    for panel, ax in zip(found, axes, strict=True):
        _draw(ax, panel)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    places = _places(panel)
    points = [(place.cost(COST), panel.shown(place.entry.value)) for place in places]
    bars = marks.bars(panel, places, points)
    scales.cost_axis(axes.xaxis, [x for x, _ in points], "training seconds")
    said = scales.floor_line(axes, panel, marks.heights(points, bars))
    on = _front(panel, places)
    # What a budget buys is the best that is no dearer: flat until the next point of the front.
    steps = [points[i] for i in on]
    xs, ys = [x for x, _ in steps], [y for _, y in steps]
    corners = list(zip([*xs[1:], axes.get_xlim()[1]], ys, strict=True))
    axes.step([*xs, corners[-1][0]], [*ys, ys[-1]], where="post", color=INK, linewidth=1)
    marks.scatter(axes, panel, places, points, hollow=True)
    scales.score_axis(axes.yaxis, panel)
    scales.head(axes, panel, said)
    level = [(x, y, *corner) for (x, y), corner in zip(steps, corners, strict=True)]
    upright = [(*corner, corner[0], y) for corner, y in zip(corners, ys[1:], strict=False)]
    marks.annotate(axes, points, [places[i].short for i in on], on, [*bars, *level, *upright])


def _places(panel: Panel) -> list[Standing]:
    return [place for place in panel.speech if (place.cost(COST) or 0) > 0]


def _front(panel: Panel, places: list[Standing]) -> list[int]:
    return front([(place.cost(COST), place.entry.value) for place in places], panel.column.better)
