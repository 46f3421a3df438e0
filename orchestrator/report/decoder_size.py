"""Score against the size of the decoder: whether a larger one closes the gap between kinds of features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.report import drawing, scales
from orchestrator.report.panels import Place
from orchestrator.report.series import draw, kept, series

if TYPE_CHECKING:
    from orchestrator.matrix import Matrix

COST = "parameters"


def has_material(matrix: Matrix) -> bool:
    """Whether some configuration has scores with two decoders of known size."""
    return bool(series(matrix, "decoder", _at))


def describe(matrix: Matrix) -> str:
    """The best of the smallest and of the largest decoder in each task."""
    said = {}
    for panel, of in series(matrix, "decoder", _at):
        points = [point for line in of for point in line.points]
        texts = []
        for size in (min(x for x, _ in points), max(x for x, _ in points)):
            best = max(
                (place for x, place in points if x == size), key=lambda place: panel.column.better * place.entry.value
            )
            texts.append(f"{best.label} {panel.column.text(best.entry.value)} with {scales.si(size)}")
        said[f"{panel.column.title} ({panel.column.heading})"] = ", ".join(texts)
    return f"Score against decoder parameters; the best of the smallest and the largest: {drawing.listed(said)}."


@drawing.styled
def decoder_size(matrix: Matrix) -> Figure:
    """Draws the score of every decoder over its parameters, those of the speech embeddings or the adapter among them."""
    title = f"{matrix.space}: score against decoder size"
    found, more = drawing.limited(series(matrix, "decoder", _at))
    if not found:
        return drawing.empty(title, "no configuration has scores with two decoders yet")
    lines, *said = kept(found)
    styles = drawing.line_styles([(key, line.kind) for key, line in lines.items()])
    figure, axes = drawing.sheet(
        title,
        len(found),
        handles=[Line2D([], [], label=line.label, **styles[key]) for key, line in lines.items()],
        notes=(*said, "Parameters: of the decoder with its speech embeddings or adapter.", more),
    )
    sizes = [x for _, of in found for line in of for x, _ in line.points]
    for (panel, of), ax in zip(found, axes, strict=True):
        draw(ax, panel, of, lines)
        scales.cost_axis(ax.xaxis, sizes, "decoder parameters", log=True)
    return figure


def _at(place: Place) -> float | None:
    return place.cost(COST) or None
