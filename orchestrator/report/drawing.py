"""Drawing: what the figures share in style, and how they become files and inline SVG.

Colours are Okabe and Ito's (https://jfly.uni-koeln.de/color/), told apart by colour-blind eyes, and a marker goes with each kind of
features, so that colour is never the only cue. Sizes are inches on a page; text is 7 to 9 points.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.report import intervals
from orchestrator.report.panels import Panel, Standing
from orchestrator.report.vector import GROUND, INK, SOFT, svg
from orchestrator.report.words import BUDGET, GUESSING

T = TypeVar("T")

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from orchestrator.matrix import Matrix
    from orchestrator.report.layout import Layout

WIDTH, FONT, LINE = 7.5, 8, 0.16
"""Inches across a figure, points of its text, inches of a line of notes."""
PANELS = 18
"""How many panels a figure has at most."""
CHARACTER = 0.062
"""Inches of a character at `FONT`, generously."""
FAINT = "#999999"
"""The ink of what stands back."""
ON_LIGHT = "#1b1b1b"
"""Ink on a coloured field, which is the same on every ground."""
KINDS = {
    "continuous": ("#0072B2", "o", ("#63B8EC", "#0068A6")),
    "centroids": ("#009E73", "^", ("#5CCFAF", "#00684C")),
    "discrete": ("#D55E00", "s", ("#EFA53F", "#B84300")),
    "none": ("#7f7f7f", "X", ("#a6a6a6", "#6a6a6a")),
}
"""Kind of features → its colour, its marker, and the ends of its shades where a figure has several of it."""
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.3)), (0, (1.3, 1.1)), (0, (5, 1.2, 1.2, 1.2)), (0, (8, 2)))
STYLE = {
    **{"font.family": "sans-serif", "font.size": FONT, "text.parse_math": False, "text.usetex": False},
    **{"axes.labelsize": FONT, "axes.titlesize": FONT, "axes.linewidth": 0.7, "axes.spines.top": False},
    **{"axes.spines.right": False, "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK},
    **{"xtick.labelsize": FONT - 1, "ytick.labelsize": FONT - 1, "xtick.color": INK, "ytick.color": INK},
    **{"xtick.major.width": 0.7, "ytick.major.width": 0.7, "xtick.major.size": 3, "ytick.major.size": 3},
    **{"legend.fontsize": FONT - 1, "legend.frameon": False, "lines.linewidth": 1.4, "savefig.dpi": 220},
}
styled = rc_context(STYLE)
"""A decorator for functions that draw; nothing of the style stays behind."""


def sheet(
    title: str,
    count: int,
    columns: int = 3,
    height: float = 1.65,
    left: float = 0.62,
    gap: tuple[float, float] = (0.62, 0.85),
    right: float = 0.15,
    handles: Sequence[Any] = (),
    further: Sequence[Any] = (),
    notes: Iterable[str] = (),
    labels: Sequence[int] = (),
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in rows of `columns`, with a title above, a legend and notes below.

    Args:
        height: of a panel, in inches.
        left, right: room beside the panels of a row.
        gap: between panels, across and down.
        handles, further: two legends, one below the other.
        labels: how many lines stand below each panel where that differs from one.
    """
    columns = max(1, min(columns, count))
    rows = math.ceil(count / columns)
    lines = [line for note in notes if note for line in textwrap.wrap(note, int(WIDTH / (CHARACTER * 0.85)))]
    across = min((WIDTH - left - right - (columns - 1) * gap[0]) / columns, 4.6)
    legends = [(of, _legend_columns(of)) for of in (handles, further) if of]
    tall = [math.ceil(len(of) / across_legend) * LINE + 0.1 for of, across_legend in legends]
    legend = sum(tall)
    below = 0.2 + len(lines) * LINE + legend + 0.4 + 0.13 * max([0, *(n - 1 for n in labels)])
    total = 0.74 + rows * height + max(0, rows - 1) * gap[1] + below
    figure = Figure(figsize=(WIDTH, total), facecolor=GROUND)
    FigureCanvasAgg(figure)
    figure.text(0.12 / WIDTH, 1 - 0.2 / total, title, size=FONT + 2, weight="bold", va="center")
    found = []
    for i in range(count):
        x, y = left + (i % columns) * (across + gap[0]), 0.74 + (i // columns) * (height + gap[1])
        found.append(figure.add_axes((x / WIDTH, 1 - (y + height) / total, across / WIDTH, height / total)))
    for i, (of, across_legend) in enumerate(legends):
        place = (0.1 / WIDTH, (0.1 + len(lines) * LINE + sum(tall[i:])) / total)
        figure.legend(handles=of, loc="upper left", bbox_to_anchor=place, ncols=across_legend, borderaxespad=0)
    for i, line in enumerate(reversed(lines)):
        figure.text(0.12 / WIDTH, (0.08 + (i + 0.5) * LINE) / total, line, size=FONT - 1, color=SOFT, va="center")
    return figure, found


def limited(found: Sequence[T]) -> tuple[list[T], str]:
    """The first panels, as many as a figure can hold, and a sentence about the others."""
    if len(found) <= PANELS:
        return list(found), ""
    return list(found[:PANELS]), f"The first {PANELS} of {len(found)} panels are shown; the table has all."


def _legend_columns(handles: Sequence[Any]) -> int:
    """As many as fit, and no more than fill their rows evenly."""
    longest = max(len(handle.get_label()) for handle in handles)
    fitting = max(1, int((WIDTH - 0.2) / (longest * CHARACTER * 0.86 + 0.5)))
    return math.ceil(len(handles) / math.ceil(len(handles) / fitting))


def empty(title: str, why: str) -> Figure:
    """What is drawn where there is nothing to draw: the title, and why."""
    figure = Figure(figsize=(WIDTH, 0.9), facecolor=GROUND)
    FigureCanvasAgg(figure)
    figure.text(0.12 / WIDTH, 0.72, title, size=FONT + 2, weight="bold", va="center")
    figure.text(0.12 / WIDTH, 0.35, why, size=FONT, color=SOFT, va="center")
    return figure


def kind_handles(kinds: Iterable[str]) -> list[Line2D]:
    """The legend of the kinds of features."""
    kinds = set(kinds)
    return [
        Line2D([], [], color=KINDS[kind][0], marker=KINDS[kind][1], markersize=5, linestyle="", label=kind)
        for kind in KINDS
        if kind in kinds
    ]


def line_styles(rows: Sequence[tuple[Any, str]]) -> dict[Any, dict[str, Any]]:
    """How the line of each configuration is drawn: its kind's colour and mark; shades and dashes where it has several.

    Args:
        rows: key and kind of each.
    """
    styles: dict[Any, dict[str, Any]] = {}
    for kind, (colour, marker, ends) in KINDS.items():
        keys = [key for key, of in rows if of == kind]
        shades = LinearSegmentedColormap.from_list(kind, ends)
        for i, key in enumerate(keys):
            shade = colour if len(keys) == 1 else shades(i / (len(keys) - 1))
            styles[key] = {"color": shade, "marker": marker, "markersize": 3.2, "linestyle": DASHES[i % len(DASHES)]}
    return styles


def spread_note(found: Sequence[Panel]) -> str:
    """What points and bars stand for."""
    several = any(len(place.values) > 1 for panel in found for place in panel.places)
    sure = any(place.interval for panel in found for place in panel.places)
    of = "mean over seeds" if several else "one seed"
    return f"Scores are of the test set, {of}." + (" Bars: 95 % bootstrap intervals." if sure else "")


def sign_notes(layout: Layout) -> list[str]:
    """The signs beside scores, explained as below the table."""
    return [*intervals.notes(layout), *(note for note in layout.legend if note.startswith((BUDGET, GUESSING)))]


def budget_note(places: Iterable[Standing]) -> str:
    """What hollow marks stand for, where there are any."""
    return (
        f"Hollow: {BUDGET} stopped by its budget, before its plateau." if any(not p.converged for p in places) else ""
    )


def company_note(places: Iterable[Standing]) -> str:
    """How many trials shared the machine while seconds were taken."""
    numbers = sorted({n for p in places for c in p.cells if (n := (c["cost"] or {}).get("trials_at_once"))})
    if not numbers:
        return ""
    if numbers == [1]:
        return "Seconds: each trial had the machine to itself."
    return f"Seconds: with {', '.join(map(str, numbers))} trials at once on the machine."


def listed(parts: Mapping[str, str], most: int = 8) -> str:
    """`asr: …; intent: …`, shortened where there are many; `nothing yet` where there are none."""
    said = [f"{name}: {text}" for name, text in list(parts.items())[:most]]
    return "; ".join(said) + (f"; and {len(parts) - most} more" if len(parts) > most else "") or "nothing yet"


def save_all(matrix: Matrix, folder: Path) -> list[Path]:
    """Writes every figure that the matrix has material for, as PNG and SVG for papers, and returns where.

    Args:
        folder: is made where it isn't there.
    """
    from orchestrator import report

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in report.drawable(matrix):
        figure = report.draw(name, matrix)
        written += [folder / f"{name}.png", folder / f"{name}.svg"]
        # A matrix of hundreds of rows is yards long: at full resolution no viewer would open it.
        dpi = min(STYLE["savefig.dpi"], 20_000 / max(figure.get_size_inches()))
        figure.savefig(written[-2], dpi=dpi, metadata={"Software": None})
        written[-1].write_text(svg(figure, themed=False), "utf-8")
    return written
