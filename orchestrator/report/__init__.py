"""Figures and tables of a comparison matrix. A figure is one file here and one line in `FIGURES`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from orchestrator.matrix import Matrix

FIGURES = {
    "heatmap": "orchestrator.report.heatmap",
    "token_distribution": "orchestrator.report.token_distribution",
}
"""Figures by name. Each module has a function of that name, from the matrix to a matplotlib figure, and may have one
`has_material`, from the matrix to whether there is anything to draw."""


def drawable(matrix: Matrix) -> list[str]:
    """The figures for which the matrix has material."""
    modules = {name: import_module(path) for name, path in FIGURES.items()}
    return [name for name, module in modules.items() if getattr(module, "has_material", lambda _: True)(matrix)]


def draw(name: str, matrix: Matrix) -> Figure:
    """Draws a figure of the matrix; its module, and matplotlib with it, is imported only now."""
    return getattr(import_module(FIGURES[name]), name)(matrix)
