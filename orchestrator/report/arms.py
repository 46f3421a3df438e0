"""Kinds of features against each other: a panel a task, a line a configuration, scores with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from orchestrator.report import drawing, scales
from orchestrator.report.drawing import CHARACTER, FAINT, FONT, INK, KINDS, SOFT, WIDTH
from orchestrator.report.panels import SPEECH, Panel, Standing, panels, selected
from orchestrator.report.words import ABSENT, GUESSING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from orchestrator.matrix import Matrix

MOST, ROW = 24, 0.185
"""How many configurations are shown, and inches of the line of one."""
BAND = "#D55E00"


def has_material(matrix: Matrix) -> bool:
    """Whether two configurations can be compared in some task."""
    return any(len(panel.speech) > 1 for panel in panels(matrix))


def describe(matrix: Matrix) -> str:
    """The best of every kind of features in each task."""
    said = {}
    for panel in panels(matrix):
        best = [place for kind in SPEECH if (place := panel.best(kind)) is not None]
        if best:
            texts = [f"{place.label} {panel.column.text(place.entry.value)}" for place in best]
            said[f"{panel.column.title} ({panel.column.heading})"] = ", ".join(texts)
    return f"Scores by kind of features with 95 % intervals; the best of each kind: {drawing.listed(said)}."


@drawing.styled
def arms(matrix: Matrix) -> Figure:
    """Draws continuous, centroids, discrete and none in every task, each task in its own unit."""
    title = f"{matrix.space}: scores by kind of features"
    found, more = drawing.limited([panel for panel in panels(matrix) if panel.scored])
    if not found:
        return drawing.empty(title, "no cell has a score yet")
    rows, left_out = selected(found, MOST)
    unscored = [
        place.row for place in found[0].places if not any(p.row == place.row for panel in found for p in panel.scored)
    ]
    rows = sorted([*rows, *unscored[: max(0, MOST - len(rows))]])
    if hidden := len(set(unscored) - set(rows)):
        left_out += f" {hidden} configurations have no score yet and are not shown."
    nothing = [place.row for place in found[0].places if place.kind == "none"]
    rows = [*rows, *nothing[: max(1, MOST - len(rows))]]
    labels = {place.row: place.label for place in found[0].places}
    texts = {panel: _texts(panel, rows) for panel in found}
    beside = max(len(text) for of in texts.values() for text in of.values()) * CHARACTER * 1.1 + 0.08
    left = max(len(labels[row]) for row in rows) * CHARACTER * 0.92 + 0.25
    columns = max(1, min(3, int((WIDTH - left) / (1.15 + beside))))
    floors = {panel: scales.limits(panel, _values(panel, rows)) for panel in found}
    figure, axes = drawing.sheet(
        title,
        len(found),
        columns,
        height=len(rows) * ROW + 0.1,
        left=left,
        right=beside,
        gap=(beside + 0.06, 0.86),
        handles=_handles(found, rows),
        notes=(drawing.spread_note(found), " · ".join(drawing.sign_notes(matrix.layout)), left_out, more),
        labels=[2] if any(said for *_, said in floors.values()) else [],
    )
    for i, (panel, ax) in enumerate(zip(found, axes, strict=True)):
        low, high, floor, said = floors[panel]
        ax.set(xlim=(low, high), ylim=(len(rows) - 0.4, -0.6), yticks=range(len(rows)))
        ax.set_yticklabels([labels[row] for row in rows] if i % columns == 0 else [])
        ax.tick_params(axis="y", length=0)
        ax.set_title(panel.column.title, loc="left", weight="bold", fontsize=FONT)
        scales.score_axis(ax.xaxis, panel)
        if floor is not None:
            ax.axvline(floor, color=KINDS["none"][0], linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        if said:
            side = said.replace("(above)", "→").replace("(below)", "←")
            ax.set_xlabel(f"{panel.column.heading}\n{side}")
        _draw(ax, panel, rows, texts[panel], (low, high))
    return figure


def _texts(panel: Panel, rows: list[int]) -> dict[int, str]:
    """What is written beside each line: the score as in the table, or why there is none."""
    return {place.row: place.entry.text + place.entry.marks for place in panel.places if place.row in rows}


def _values(panel: Panel, rows: list[int]) -> list[float]:
    """All that must be seen, in the unit of the heading: scores that hear speech, their intervals, published ones."""
    values: list[float] = []
    for place in [place for place in panel.speech if place.row in rows] or panel.scored:
        values += [place.entry.value, *place.values, *(place.interval or ())]
        values += [] if place.entry.published is None else [place.entry.published]
    return [panel.shown(value) for value in values]


def _best_discrete(panel: Panel) -> Standing | None:
    """To be highlighted: none where the best has learned nothing."""
    best = panel.best("discrete")
    return None if best is None or GUESSING in best.entry.marks else best


def _draw(axes: Axes, panel: Panel, rows: list[int], texts: dict[int, str], bounds: tuple[float, float]) -> None:
    best = _best_discrete(panel)
    for place in panel.places:
        if place.row not in rows:
            continue
        y = rows.index(place.row)
        first = best is not None and place.row == best.row
        if first:
            axes.axhspan(y - 0.45, y + 0.45, color=BAND, alpha=0.13, linewidth=0, zorder=0)
        if place.entry.value is not None:
            _point(axes, panel, place, y, bounds)
        text = "" if place.entry.text == ABSENT else texts[place.row]
        style = {"weight": "bold" if first else "normal", "color": INK if place.entry.value is not None else SOFT}
        axes.text(1.04, y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=FONT - 1, **style)


def _point(axes: Axes, panel: Panel, place: Standing, y: int, bounds: tuple[float, float]) -> None:
    value = panel.shown(place.entry.value)
    if not bounds[0] <= value <= bounds[1]:  # only `none` can be: its place is beyond the edge
        room = 0.03 * (bounds[1] - bounds[0])
        edge, mark = (bounds[1] - room, ">") if value > bounds[1] else (bounds[0] + room, "<")
        axes.plot(edge, y, marker=mark, markersize=5, color=KINDS["none"][0])
        return
    colour, marker, _ = KINDS[place.kind]
    if place.interval is not None:
        axes.hlines(y, *map(panel.shown, place.interval), color=colour, linewidth=1.1, alpha=0.65, zorder=2)
    if len(place.values) > 1:
        seeds = [panel.shown(one) for one in place.values]
        axes.plot(seeds, [y] * len(seeds), "|", color=colour, markersize=7, zorder=4)
    axes.plot(value, y, marker, color=colour, markersize=5, zorder=3)
    if place.entry.published is not None:
        axes.plot(panel.shown(place.entry.published), y, "D", markersize=5, color=INK, fillstyle="none", zorder=4)


def _handles(found: list[Panel], rows: list[int]) -> list[Line2D | Patch]:
    places = [place for panel in found for place in panel.scored if place.row in rows]
    handles: list[Line2D | Patch] = list(drawing.kind_handles(place.kind for place in places))
    if any(len(place.values) > 1 for place in places):
        handles.append(Line2D([], [], color=FAINT, marker="|", linestyle="", markersize=7, label="one seed"))
    if any(place.entry.published is not None for place in places):
        mark = {"marker": "D", "fillstyle": "none", "linestyle": "", "markersize": 5}
        handles.append(Line2D([], [], color=INK, label="published", **mark))
    if any(panel.floor is not None for panel in found):
        handles.append(Line2D([], [], color=KINDS["none"][0], linewidth=1, linestyle=(0, (2, 2)), label="guessing"))
    if any(_best_discrete(panel) for panel in found):
        handles.append(Patch(color=BAND, alpha=0.2, linewidth=0, label="best discrete"))
    return handles
