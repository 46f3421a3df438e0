"""The comparison matrix as a heat map: how far each cell got from guessing (light) to the best of its column (dark)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from orchestrator.report import drawing
from orchestrator.report.drawing import GROUND, INK, ON_LIGHT, SOFT
from orchestrator.report.panels import panels, selected, words
from orchestrator.report.tables import wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from orchestrator.matrix import Matrix
    from orchestrator.report.layout import Column, Entry, Layout

MOST = 80
"""How many configurations are drawn."""
ROW_INCHES, CHARACTER_INCHES, FONT = 0.3, 0.082, 9
ON_DARK = "#fefefe"
"""Ink on a dark field, which is the same on every ground."""
HATCH = {"failed": ("xxx", "#f3d9d9"), "missing": ("...", "#eeeeee"), "stale": ("///", "#f5edcf")}
"""How a place without a value looks: its hatching and its ground."""

# viridis reads the same to colour-blind eyes and in grey; without its darkest end, numbers stay legible on it.
COLOURS = LinearSegmentedColormap.from_list("guess_to_best", colormaps["viridis_r"]([0.02 * i for i in range(45)]))


def describe(matrix: Matrix) -> str:
    """What stands where, and the best of each column."""
    layout = matrix.layout
    best = {
        f"{column.title} ({column.heading})": f"{words(row.coordinates, layout.labels)} {line[c].text}"
        for c, column in enumerate(layout.columns)
        for row, line in zip(layout.rows, layout.entries, strict=True)
        if line[c].best
    }
    head = f"Heat map of {layout.title}; rows are feature configurations, columns are task metrics"
    return f"{head}; the best: {drawing.listed(best)}." if best else f"{head}."


@drawing.styled
def heatmap(matrix: Matrix) -> Figure:
    """Draws the matrix: rows are feature configurations, columns are task metrics.

    The colour of a value v is (v - g) / (b - g), limited to 0 … 1, with b the best of its column and g the score of
    guessing there (the better of trivial baseline and `none`; the worst of the column where neither is known). So
    colours compare columns with different units, and lower is darker where lower is better.
    """
    layout, left_out = _fitting(matrix)
    labels = [layout.label(row) for row in layout.rows]
    names = [wrap(name.replace("_", " ")) for name in layout.labels]
    heads = [[*wrap(column.title), column.heading] for column in layout.columns]
    label_widths = [max(map(len, [*names[i], *(label[i] for label in labels)])) + 2 for i in range(len(names))]
    texts = [entry.text + entry.after for line in layout.entries for entry in line]
    cell = max(6, *map(len, texts), *(len(line) for head in heads for line in head)) + 2 if texts else 8

    left, width = sum(label_widths), cell * len(heads)
    above = max([1, *map(len, [*heads, *names])]) * 0.6 + 0.3
    across = max(6.0, (left + width + 2) * CHARACTER_INCHES)
    notes = [
        line
        for note in (layout.caption, " · ".join(layout.legend), left_out)
        for line in wrap(note, int(across / 0.066))
    ]
    inches = (across, (len(labels) + above + 3.6 + 0.65 * len(notes)) * ROW_INCHES)
    figure = Figure(figsize=inches, facecolor=GROUND, dpi=130)
    FigureCanvasAgg(figure)
    # One unit of x is a character, one of y a row, so that labels and cells share a grid.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-left - 1, inches[0] / CHARACTER_INCHES - left - 1)
    axes.set_ylim(inches[1] / ROW_INCHES - above - 1.6, -above - 1.6)
    axes.axis("off")

    axes.text(-left, -above - 0.9, layout.title, fontsize=FONT + 3, weight="bold", va="center")
    for i, name in enumerate(names):
        x = -left + sum(label_widths[:i])
        axes.text(x, -0.15, "\n".join(name), fontsize=FONT, weight="bold", va="bottom")
        for y, label in enumerate(labels):
            axes.text(x, y + 0.52, label[i], fontsize=FONT, va="center")
    for c, column in enumerate(layout.columns):
        axes.text((c + 0.5) * cell, -0.15, "\n".join(heads[c]), fontsize=FONT, weight="bold", ha="center", va="bottom")
        shades = scores([line[c] for line in layout.entries], column, layout.floors[c])
        for y, (line, score) in enumerate(zip(layout.entries, shades, strict=True)):
            _draw(axes, c * cell, y, cell, line[c], score)
    guesses = [y for y, row in enumerate(layout.rows) if row.kind != "speech"]
    if guesses and guesses[0] > 0:
        axes.plot([-left, width], [guesses[0]] * 2, color=INK, linewidth=1.2)
    _explain(figure, axes, layout, notes, -left, len(labels))
    return figure


def _fitting(matrix: Matrix) -> tuple[Layout, str]:
    """The layout with as many rows as a picture can hold, and what is said about the others."""
    layout = matrix.layout
    if len(layout.rows) <= MOST:
        return layout, ""
    found = panels(matrix)
    chosen, _ = selected(found, MOST)
    rows = sorted({*chosen, *(r for r, row in enumerate(layout.rows) if row.kind != "speech")})
    hearing = sum(row.kind == "speech" for row in layout.rows)
    said = f"{len(chosen)} of {hearing} configurations are shown, of every kind of features the best; the table has all"
    return replace(layout, rows=[layout.rows[r] for r in rows], entries=[layout.entries[r] for r in rows]), said


def scores(entries: list[Entry], column: Column, floor: float | None) -> list[float]:
    """Each value between guessing (0) and the best of the column (1); 0 where there is no value."""
    values = [column.better * entry.value for entry in entries if entry.value is not None]
    if not values:
        return [0.0] * len(entries)
    best, worst = max(values), min(values) if floor is None else column.better * floor
    if best <= worst:
        return [0.0] * len(entries)
    return [
        0.0 if entry.value is None else max(0.0, (column.better * entry.value - worst) / (best - worst))
        for entry in entries
    ]


def _draw(axes: Axes, x: float, y: float, width: float, entry: Entry, score: float) -> None:
    if entry.status == "ok":
        colour = COLOURS(score)
        axes.add_patch(Rectangle((x, y), width, 1, facecolor=colour, edgecolor=GROUND, linewidth=1))
        luminance = 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]
        ink, weight = (ON_DARK if luminance < 0.45 else ON_LIGHT), ("bold" if entry.best else "normal")
    else:
        hatch, ground = HATCH.get(entry.status, ("", GROUND))
        axes.add_patch(Rectangle((x, y), width, 1, facecolor=ground, edgecolor=GROUND, linewidth=1))
        axes.add_patch(Rectangle((x, y), width, 1, fill=False, hatch=hatch, edgecolor="#c4c4c4", linewidth=0))
        ink, weight = (ON_LIGHT if entry.status in HATCH else SOFT), "normal"
    text = axes.text(x + width / 2, y + 0.52, entry.text + entry.after, fontsize=FONT, ha="center", va="center")
    text.set(color=ink, weight=weight)
    if entry.status in HATCH:
        text.set_bbox({"facecolor": HATCH[entry.status][1], "edgecolor": "none", "pad": 1})


def _explain(figure: Figure, axes: Axes, layout: Layout, notes: list[str], x: float, rows: int) -> None:
    """The colour scale, the hatchings that occur, and the notes, below the cells."""
    width, height = figure.get_size_inches()
    top = height - (rows + 0.6 - axes.get_ylim()[1]) * ROW_INCHES
    bar = figure.add_axes((CHARACTER_INCHES / width, (top - 0.15) / height, 1.5 / width, 0.13 / height))
    figure.colorbar(ScalarMappable(Normalize(0, 1), COLOURS), cax=bar, orientation="horizontal", ticks=[])
    y = rows + 0.6 + 0.25
    words = "guessing … best of its column"
    axes.text(x + 1.6 / CHARACTER_INCHES, y, words, fontsize=FONT - 1, va="center")
    present = {entry.status for line in layout.entries for entry in line}
    shown = [Patch(facecolor=g, hatch=h, edgecolor="#c4c4c4", label=s) for s, (h, g) in HATCH.items() if s in present]
    if shown:
        place = ((1.6 + len(words) * 0.066 + 0.2) / width, (top - 0.08) / height)
        figure.legend(handles=shown, loc="center left", bbox_to_anchor=place, ncols=3, fontsize=FONT - 1, frameon=False)
    for i, note in enumerate(notes):
        axes.text(x, y + 0.85 + i * 0.65, note, fontsize=FONT - 1, va="center", color=SOFT)
