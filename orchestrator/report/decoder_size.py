"""Score against the size of the decoder: whether a larger one closes the gap between kinds of features."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.report import drawing, scales
from orchestrator.report.panels import Panel, Standing
from orchestrator.report.series import Series, draw, kept, series

if TYPE_CHECKING:
    from orchestrator.matrix import Matrix

COST = "parameters"
NAME = re.compile(r"(.+)-[0-9.]+[a-z]*")
"""A decoder that is named by its family and its size, such as `qwen2.5-0.5b`."""


def has_material(matrix: Matrix) -> bool:
    """Whether some task has scores with two decoders of different size."""
    return bool(_series(matrix))


def describe(matrix: Matrix) -> str:
    """The best of the smallest and of the largest decoder in each task."""
    said = {}
    for panel, of in _series(matrix):
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
    found, more = drawing.limited(_series(matrix))
    if not found:
        return drawing.empty(title, "no task has scores with two decoders of different size yet")
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


def _series(matrix: Matrix) -> list[tuple[Panel, list[Series]]]:
    """Of the tasks that have several decoders: speech embeddings alone make two sizes of one."""
    found = series(matrix, "decoder", _at, _family)
    return [(panel, of) for panel, of in found if len(set().union(*map(_decoders, of))) > 1]


def _decoders(line: Series) -> set[str]:
    return {str(cell["decoder"]) for _, place in line.points for cell in place.cells}


def _at(place: Standing) -> float | None:
    return place.cost(COST) or None


def _family(place: Standing) -> str:
    """Decoders of one family make a line: between families a step in score is not one in size."""
    named = NAME.fullmatch(str(place.coordinates["decoder"]))
    return named[1] if named else ""
