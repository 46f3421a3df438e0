"""Figures and tables of a comparison matrix. A figure is one file here and one line in `FIGURES`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from orchestrator.matrix import Matrix

FIGURES = {
    "heatmap": "orchestrator.report.heatmap",
    "arms": "orchestrator.report.arms",
    "codebook_by_bpe": "orchestrator.report.codebook_by_bpe",
    "bitrate": "orchestrator.report.bitrate",
    "pareto": "orchestrator.report.pareto",
    "curves": "orchestrator.report.curves",
    "equal_compute": "orchestrator.report.equal_compute",
    "layers": "orchestrator.report.layers",
    "decoder_size": "orchestrator.report.decoder_size",
    "cost_parts": "orchestrator.report.cost_parts",
    "token_distribution": "orchestrator.report.token_distribution",
}
"""Figures by name. Each module has a function of that name, from the matrix to a matplotlib figure, and may have one
`has_material`, from the matrix to whether there is anything to draw, and one `describe`, to its content in one sentence."""


def drawable(matrix: Matrix) -> list[str]:
    """The figures for which the matrix has material."""
    modules = {name: import_module(path) for name, path in FIGURES.items()}
    return [name for name, module in modules.items() if getattr(module, "has_material", lambda _: True)(matrix)]


def draw(name: str, matrix: Matrix) -> Figure:
    """Draws a figure of the matrix; its module, and matplotlib with it, is imported only now.

    The figure's label is its description, which becomes the name that a screen reader says of its SVG.
    """
    figure = getattr(import_module(FIGURES[name]), name)(matrix)
    figure.set_label(describe(name, matrix))
    return figure


def describe(name: str, matrix: Matrix) -> str:
    """What a figure shows, in one sentence, for those who can't see it."""
    module = import_module(FIGURES[name])
    return module.describe(matrix) if hasattr(module, "describe") else f"{name.replace('_', ' ')} of {matrix.space}."
