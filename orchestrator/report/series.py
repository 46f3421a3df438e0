"""Series: scores along one coordinate of the configurations, a panel a task, a line for all that differ in it alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.report import drawing, marks, scales
from orchestrator.report.panels import Panel, Standing, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from orchestrator.matrix import Matrix

MOST, SURE = 8, 5
"""How many lines are drawn, and up to how many of them with intervals, which would hide more than they tell."""


@dataclass(frozen=True, eq=False)
class Series:
    """The scores of configurations that differ in one coordinate alone.

    Attributes:
        key: the same in every task.
        label: what they share.
        points: where on the axis, and what stands there; from left to right.
    """

    key: str
    kind: str
    label: str
    points: tuple[tuple[float, Standing], ...]


def series(
    matrix: Matrix,
    coordinate: str,
    at: Callable[[Standing], float | None],
    of_line: Callable[[Standing], str] = lambda _: "",
) -> list[tuple[Panel, list[Series]]]:
    """The series of every task that has scores at two places of the axis at least.

    Args:
        at: the place of a configuration on the axis; None where it has none.
        of_line: what besides the other coordinates must be equal on a line, as it is named.
    """
    found = []
    labels = [name for name in matrix.layout.labels if name != coordinate]
    for panel in panels(matrix):
        lines: dict[str, list[tuple[float, Standing]]] = {}
        for place in panel.speech:
            if (x := at(place)) is not None:
                key = json.dumps([place.kind, of_line(place), *(place.coordinates[name] for name in labels)])
                lines.setdefault(key, []).append((x, place))
        of = []
        for key, points in lines.items():
            first = points[0][1]
            label = " ".join(word for word in (first.without(coordinate), of_line(first)) if word)
            of.append(Series(key, first.kind, label, tuple(sorted(points, key=lambda point: point[0]))))
        if len({x for line in of for x, _ in line.points}) > 1:
            found.append((panel, of))
    return found


def kept(found: Sequence[tuple[Panel, list[Series]]]) -> tuple[dict[str, Series], str, str]:
    """The lines to be drawn, those with most points first, by their keys.

    Returns:
        The lines, a sentence about points and intervals, and one about what is left out.
    """
    size: dict[str, int] = {}
    every: dict[str, Series] = {}
    for _, of in found:
        for line in of:
            every.setdefault(line.key, line)
            size[line.key] = size.get(line.key, 0) + len(line.points)
    order = sorted(every, key=lambda key: (-size[key], list(every).index(key)))[:MOST]
    lines = {key: line for key, line in every.items() if key in order}
    about = drawing.spread_note([panel for panel, _ in found])
    if len(lines) > SURE:
        about = about.replace(
            "Bars: 95 % bootstrap intervals.", "Intervals are in the table: there are too many lines."
        )
    left_out = f"{MOST} of {len(every)} lines are shown, those with most points." if len(every) > MOST else ""
    return lines, f"{about} Dashed, grey: guessing.", left_out


def draw(axes: Axes, panel: Panel, of: Sequence[Series], lines: dict[str, Series], shift: float = 0.0) -> None:
    """Draws the lines of a task with their intervals; limits and names of the upright axis with them.

    Args:
        shift: how far lines stand apart along the axis, so that their intervals don't cover each other.
    """
    styles = drawing.line_styles([(key, line.kind) for key, line in lines.items()])
    reach: list[float] = []
    shown = [line for line in of if line.key in lines]
    for i, line in enumerate(shown):
        aside = shift * (i - (len(shown) - 1) / 2)
        points = [(x + aside, panel.shown(place.entry.value)) for x, place in line.points]
        axes.plot([x for x, _ in points], [y for _, y in points], **styles[line.key] | {"markersize": 4})
        ends = marks.bars(panel, [place for _, place in line.points], points)
        ends = ends if len(lines) <= SURE else []
        for x, low, _, high in ends:
            axes.vlines(x, low, high, color=styles[line.key]["color"], linewidth=0.9, alpha=0.55, zorder=1)
        reach += marks.heights(points, ends)
    said = scales.floor_line(axes, panel, reach or [panel.shown(place.entry.value) for place in panel.speech])
    scales.score_axis(axes.yaxis, panel)
    scales.head(axes, panel, said)
