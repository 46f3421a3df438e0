"""Score against encoder layer: which layer a task prefers, a line for each way to feed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from orchestrator.report import drawing
from orchestrator.report.panels import Standing
from orchestrator.report.series import draw, kept, series
from orchestrator.report.words import is_number, show

if TYPE_CHECKING:
    from orchestrator.matrix import Matrix


def has_material(matrix: Matrix) -> bool:
    """Whether some task has scores of two layers."""
    return bool(series(matrix, "layer", _at(matrix)))


def describe(matrix: Matrix) -> str:
    """The layer that each task prefers."""
    said = {}
    for panel, of in series(matrix, "layer", _at(matrix)):
        best = max(
            (place for line in of for _, place in line.points),
            key=lambda place: panel.column.better * place.entry.value,
        )
        said[f"{panel.column.title} ({panel.column.heading})"] = f"{best.label} {panel.column.text(best.entry.value)}"
    return f"Score against encoder layer; the best of each task: {drawing.listed(said)}."


@drawing.styled
def layers(matrix: Matrix) -> Figure:
    """Draws the score of every layer; a learned weighted sum of layers stands beside the single ones."""
    title = f"{matrix.space}: score against encoder layer"
    at = _at(matrix)
    found, more = drawing.limited(series(matrix, "layer", at))
    if not found:
        return drawing.empty(title, "no task has scores of two layers yet")
    lines, *said = kept(found)
    styles = drawing.line_styles([(key, line.kind) for key, line in lines.items()])
    places = [place for _, of in found for line in of for _, place in line.points]
    names = {x: show(place.coordinates["layer"]) for place in places if (x := at(place)) is not None}
    figure, axes = drawing.sheet(
        title,
        len(found),
        handles=[Line2D([], [], label=line.label, **styles[key]) for key, line in lines.items()],
        notes=(*said, more),
    )
    low, high = min(names), max(names)
    for (panel, of), ax in zip(found, axes, strict=True):
        draw(ax, panel, of, lines, shift=0.008 * (high - low))
        room = 0.06 * (high - low) or 0.5
        ax.set_xlim(low - room, high + room)
        every = -(-len(names) // 10)
        ticks = [x for i, x in enumerate(sorted(names)) if i % every == 0 or not names[x].isdigit()]
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.set_xticklabels([names[x] if names[x].isdigit() else "sum" for x in ticks])
        ax.set_xlabel("encoder layer" + (" (sum: weighted)" if not all(map(str.isdigit, names.values())) else ""))
    return figure


def _at(matrix: Matrix):
    """Layers by their number; what is not one, such as the weighted sum, to the right of all."""
    numbers = [cell["layer"] for cell in matrix.cells if is_number(cell["layer"])]
    beyond = max(numbers, default=0) + max(1.0, 0.1 * (max(numbers, default=0) - min(numbers, default=0)))

    def at(place: Standing) -> float | None:
        layer = place.coordinates["layer"]
        return layer if layer is None or is_number(layer) else beyond

    return at
