"""Learning curves: dev error and loss over epochs, two panels a task, a line a configuration."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from orchestrator.report import drawing, scales
from orchestrator.report.drawing import INK
from orchestrator.report.panels import Cell, Panel, Standing, panels, selected
from orchestrator.report.words import is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from orchestrator.matrix import Matrix

MOST = 10
"""How many configurations are drawn."""
SIZE = 1.2


def has_material(matrix: Matrix) -> bool:
    """Whether any cell has a learning curve of at least two evaluations."""
    return any(len(cell.get("curve") or ()) > 1 for cell in matrix.cells)


def describe(matrix: Matrix) -> str:
    """How far each task's best curve went."""
    said = {}
    for panel in _panels(matrix):
        ends = [(min(errors), place.label) for place in panel.places if (errors := _errors(place))]
        if ends:
            error, name = min(ends)
            said[panel.column.title] = f"{name} reaches {100 * error:.3g} %"
    return (
        f"Learning curves, dev error and loss over epochs; the lowest dev error of each task: {drawing.listed(said)}."
    )


@drawing.styled
def curves(matrix: Matrix) -> Figure:
    """Draws the learning curves of every task: above the dev error, below it the loss on dev (and on training data)."""
    title = f"{matrix.space}: learning curves"
    found, more = drawing.limited(_panels(matrix))
    if not found:
        return drawing.empty(title, "no cell has a learning curve yet")
    rows, left_out = selected(found, MOST)
    places = {place.row: place for panel in found for place in panel.places if _curves(place)}
    rows += [row for row, place in places.items() if place.kind == "none"][:2]
    rows = [row for row in rows if row in places]
    styles = drawing.line_styles([(row, places[row].kind) for row in rows])
    handles = [Line2D([], [], label=places[row].label, **styles[row]) for row in rows]
    both = len(rows) <= 6
    kept = Line2D([], [], linestyle="", marker="o", markersize=7, color=INK, fillstyle="none", label="weights kept")
    several = any(len(place.cells) > 1 for panel in found for place in panel.places)
    columns = min(3, len(found))
    spare = -len(found) % columns
    lines = -(-len(found) // columns)
    figure, axes = drawing.sheet(
        title,
        2 * lines * columns,
        columns,
        height=SIZE,
        gap=(0.62, 0.7),
        handles=[*handles, kept],
        notes=(
            "Dev error: share of wrong answer tokens, the right ones before them given. Loss: nats an answer token, on dev"
            + (", and thin and dotted on training data." if both else "."),
            "Thin: single seeds; thick: their mean, as far as all of them went." if several else "",
            left_out,
            more,
        ),
    )
    for i, panel in enumerate(found):
        above = 2 * columns * (i // columns) + i % columns
        for ax, key, name in (
            (axes[above], "dev_error", "dev error % ↓"),
            (axes[above + columns], "dev_loss", "loss, nats ↓"),
        ):
            _draw(ax, panel, rows, styles, key, both)
            ax.set_ylabel(name)
            scales.quiet_grid(ax)
        scales.head(axes[above], panel)
        axes[above + columns].set_xlabel("epoch")
    for i in range(len(found), len(found) + spare):
        above = 2 * columns * (i // columns) + i % columns
        axes[above].remove()
        axes[above + columns].remove()
    return figure


def _panels(matrix: Matrix) -> list[Panel]:
    return [panel for panel in panels(matrix, first_only=True) if any(_curves(place) for place in panel.places)]


def _curves(place: Standing) -> list[tuple[Cell, Sequence[Cell]]]:
    return [(cell, cell["curve"]) for cell in place.cells if cell.get("curve")]


def _errors(place: Standing) -> list[float]:
    return [row["dev_error"] for _, curve in _curves(place) for row in curve if is_number(row.get("dev_error"))]


def _draw(axes: Axes, panel: Panel, rows: list[int], styles: dict[int, dict[str, Any]], key: str, both: bool) -> None:
    factor = 100 if key == "dev_error" else 1
    for place in panel.places:
        found = _curves(place)
        if place.row not in rows or not found:
            continue
        style = styles[place.row]
        lines = [_points(curve, key, factor) for _, curve in found]
        for (cell, curve), line in zip(found, lines, strict=True):
            thin = style | ({} if len(found) == 1 else {"linewidth": 0.6, "marker": "", "alpha": 0.7})
            axes.plot([x for x, _ in line], [y for _, y in line], markevery=max(1, len(line) // 6), **thin)
            if both and key == "dev_loss":
                train = _points(curve, "train_loss", 1)
                axes.plot(
                    [x for x, _ in train], [y for _, y in train], color=style["color"], linewidth=0.6, linestyle=":"
                )
            best = [(x, y) for x, y in line if x == (cell["cost"] or {}).get("best_epoch")]
            axes.plot(
                [x for x, _ in best], [y for _, y in best], "o", markersize=7, color=style["color"], fillstyle="none"
            )
        if len(found) > 1:
            mean = [(at[0][0], statistics.fmean(y for _, y in at)) for at in zip(*lines, strict=False)]
            axes.plot(
                [x for x, _ in mean],
                [y for _, y in mean],
                markevery=max(1, len(mean) // 6),
                **style | {"linewidth": 1.8},
            )
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))


def _points(curve: Sequence[Cell], key: str, factor: float) -> list[tuple[float, float]]:
    return [
        (row["epoch"], factor * row[key]) for row in curve if is_number(row.get(key)) and is_number(row.get("epoch"))
    ]
