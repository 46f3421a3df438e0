"""Marks: points with their intervals, and words beside them that cover nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from orchestrator.report.drawing import CHARACTER, FONT, GROUND, KINDS
from orchestrator.report.panels import Panel, Standing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[float, float]


def scatter(
    axes: Axes, panel: Panel, places: Sequence[Standing], points: Sequence[Point], hollow: bool = False
) -> None:
    """Scores over a cost as marks of their kinds of features, with their intervals.

    Args:
        hollow: whether places that were stopped by their budget are drawn so.
    """
    many = len(places) > 40
    for kind, (colour, marker, _) in KINDS.items():
        mine = [(place, point) for place, point in zip(places, points, strict=True) if place.kind == kind]
        lines = bars(panel, [place for place, _ in mine], [point for _, point in mine])
        if lines:
            xs, lows, _, highs = zip(*lines, strict=True)
            axes.vlines(
                xs, lows, highs, color=colour, linewidth=0.6 if many else 1.1, alpha=0.3 if many else 0.65, zorder=2
            )
        for empty_inside in (False, True):
            shown = [point for place, point in mine if (hollow and not place.converged) == empty_inside]
            if not shown:
                continue
            style = {"markersize": 3.5 if many else 5, "markeredgewidth": 1, "linestyle": "", "zorder": 3}
            style |= {"markerfacecolor": GROUND} if empty_inside else {}
            axes.plot([x for x, _ in shown], [y for _, y in shown], marker=marker, color=colour, **style)


def bars(panel: Panel, places: Sequence[Standing], points: Sequence[Point]) -> list[tuple[float, float, float, float]]:
    """The intervals of points as upright lines (x, y, x, y) in the unit of the heading."""
    return [
        (x, panel.shown(place.interval[0]), x, panel.shown(place.interval[1]))
        for place, (x, _) in zip(places, points, strict=True)
        if place.interval
    ]


def heights(points: Sequence[Point], lines: Sequence[tuple[float, float, float, float]]) -> list[float]:
    """All that an upright axis must reach."""
    return [*(y for _, y in points), *(line[1] for line in lines), *(line[3] for line in lines)]


def annotate(
    axes: Axes,
    points: Sequence[Point],
    texts: Sequence[str],
    wanted: Sequence[int],
    lines: Sequence[tuple[float, float, float, float]] = (),
) -> None:
    """Writes a few words beside points where they cover neither a point nor each other; the others stay unnamed.

    Args:
        points: all that are drawn, in the units of the axes, whose limits are final.
        texts: of the points at `wanted`.
        lines: upright or level lines (x, y, x, y) that are not to be covered either.
    """
    dpi = axes.figure.dpi
    box = axes.get_window_extent()
    at = [axes.transData.transform(one) for one in points]
    near = dpi / 25
    taken = [(x - near, y - near, x + near, y + near) for x, y in at]
    for x0, y0, x1, y1 in lines:
        (left, low), (right, high) = axes.transData.transform([(min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1))])
        taken.append((left - 1, low - 1, right + 1, high + 1))
    high = (FONT - 1) / 72 * dpi * 1.15
    for i, text in zip(wanted, texts, strict=True):
        wide = len(text) * CHARACTER * 0.84 * dpi
        for dx, dy in _offsets(wide, high, dpi):
            x, y = at[i][0] + dx, at[i][1] + dy - high / 2
            here = (x, y, x + wide, y + high)
            inside = box.x0 <= x and here[2] <= box.x1 + 0.1 * dpi and box.y0 <= y and here[3] <= box.y1
            if inside and not any(_overlap(here, other) for j, other in enumerate(taken) if j != i):
                taken.append(here)
                offset = (dx * 72 / dpi, dy * 72 / dpi)
                style = {"textcoords": "offset points", "va": "center", "fontsize": FONT - 1.5, "zorder": 5}
                axes.annotate(text, points[i], offset, **style)
                break


def _offsets(wide: float, high: float, dpi: float) -> Iterable[tuple[float, float]]:
    """Where words may stand from their point, the nearest first."""
    side = 0.06 * dpi
    for up in (0, 0.75 * high, -0.75 * high, 1.5 * high, -1.5 * high, 2.4 * high, -2.4 * high):
        yield side, up
        yield -side - wide, up
        if up:
            yield -wide / 2, up


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
