"""Drawing: what the figures share in style, and how they become files and inline SVG.

Colours are Okabe and Ito's (https://jfly.uni-koeln.de/color/), told apart by colour-blind eyes, and a marker goes with each kind of
features, so that colour is never the only cue. Sizes are inches on a page; text is 7 to 9 points.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from orchestrator.report import intervals
from orchestrator.report.places import Panel, Place
from orchestrator.report.vector import GROUND, INK, SOFT, svg
from orchestrator.report.words import BUDGET, GUESSING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    from orchestrator.matrix import Matrix
    from orchestrator.report.layout import Layout

Point = tuple[float, float]
WIDTH, FONT, LINE = 7.5, 8, 0.16
"""Inches across a figure, points of its text, inches of a line of notes."""
CHARACTER = 0.062
"""Inches of a character at `FONT`, generously."""
FAINT = "#999999"
"""The ink of what stands back."""
ON_LIGHT = "#1b1b1b"
"""Ink on a coloured field, which is the same on every ground."""
KINDS = {
    "continuous": ("#0072B2", "o", ("#63B8EC", "#005A8F")),
    "centroids": ("#009E73", "^", ("#5CCFAF", "#00684C")),
    "discrete": ("#D55E00", "s", ("#F2AE4E", "#A83A00")),
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
    notes: Iterable[str] = (),
    labels: Sequence[int] = (),
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in rows of `columns`, with a title above, a legend and notes below.

    Args:
        height: of a panel, in inches.
        left, right: room beside the panels of a row.
        gap: between panels, across and down.
        labels: how many lines stand below each panel where that differs from one.
    """
    columns = max(1, min(columns, count))
    rows = math.ceil(count / columns)
    lines = [line for note in notes if note for line in textwrap.wrap(note, int(WIDTH / (CHARACTER * 0.85)))]
    across = min((WIDTH - left - right - (columns - 1) * gap[0]) / columns, 4.6)
    of_legend = _legend_columns(handles)
    legend = math.ceil(len(handles) / of_legend) * (LINE + 0.02) + 0.1 if handles else 0.0
    below = 0.2 + len(lines) * LINE + legend + 0.4 + 0.13 * max([0, *(n - 1 for n in labels)])
    total = 0.74 + rows * height + max(0, rows - 1) * gap[1] + below
    figure = Figure(figsize=(WIDTH, total), facecolor=GROUND)
    FigureCanvasAgg(figure)
    figure.text(0.12 / WIDTH, 1 - 0.2 / total, title, size=FONT + 2, weight="bold", va="center")
    found = []
    for i in range(count):
        x, y = left + (i % columns) * (across + gap[0]), 0.74 + (i // columns) * (height + gap[1])
        found.append(figure.add_axes((x / WIDTH, 1 - (y + height) / total, across / WIDTH, height / total)))
    if handles:
        place = (0.1 / WIDTH, (0.1 + len(lines) * LINE + legend) / total)
        figure.legend(handles=handles, loc="upper left", bbox_to_anchor=place, ncols=of_legend, borderaxespad=0)
    for i, line in enumerate(reversed(lines)):
        figure.text(0.12 / WIDTH, (0.08 + (i + 0.5) * LINE) / total, line, size=FONT - 1, color=SOFT, va="center")
    return figure, found


def _legend_columns(handles: Sequence[Any]) -> int:
    longest = max((len(handle.get_label()) for handle in handles), default=1)
    return max(1, min(len(handles), int((WIDTH - 0.2) / (longest * CHARACTER * 0.86 + 0.5)))) if handles else 1


def empty(title: str, why: str) -> Figure:
    """What is drawn where there is nothing to draw: the title, and why."""
    figure = Figure(figsize=(WIDTH, 0.9), facecolor=GROUND)
    FigureCanvasAgg(figure)
    figure.text(0.12 / WIDTH, 0.72, title, size=FONT + 2, weight="bold", va="center")
    figure.text(0.12 / WIDTH, 0.35, why, size=FONT, color=SOFT, va="center")
    return figure


def head(axes: Axes, panel: Panel, said: str = "") -> None:
    """Names a panel by its task; what else must be said of it stands below."""
    axes.set_title(panel.column.title, loc="left", weight="bold", fontsize=FONT, pad=13 if said else 5)
    if said:
        axes.text(0, 1.025, said, transform=axes.transAxes, fontsize=FONT - 1.5, color=SOFT, va="bottom")


def score_axis(axis: Axis, panel: Panel, ticks: int = 4) -> None:
    """An axis of scores: named by metric, unit and the direction that is better."""
    axis.set_label_text(panel.column.heading)
    axis.set_major_locator(MaxNLocator(ticks, min_n_ticks=2))
    axis.axes.grid(axis=axis.axis_name, color=FAINT, alpha=0.3, linewidth=0.5)
    axis.axes.set_axisbelow(True)


def quiet_grid(axes: Axes) -> None:
    """Level lines behind everything."""
    axes.grid(axis="y", color=FAINT, alpha=0.3, linewidth=0.5)
    axes.set_axisbelow(True)


def cost_axis(axis: Axis, values: Sequence[float], name: str, log: bool | None = None, short: bool = False) -> None:
    """An axis of costs, logarithmic where they differ by more than a factor of five; its name says which.

    Args:
        short: whether `(log)` has to do for `log scale`.
    """
    low, high = min(values), max(values)
    axes = axis.axes
    log = (low > 0 and high > 5 * low) if log is None else log and low > 0
    set_scale, set_limits = (
        (axes.set_xscale, axes.set_xlim) if axis.axis_name == "x" else (axes.set_yscale, axes.set_ylim)
    )
    if log:
        set_scale("log")
        room = max((high / low) ** 0.08, 1.15)
        low, high = low / room, high * room
        axis.set_major_locator(FixedLocator(log_ticks(low, high, most=3 if short else 5)))
        axis.set_minor_locator(NullLocator())
    else:
        low, high = 0.0, high * 1.08 or 1.0
        axis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
    set_limits(low, high)
    axis.set_major_formatter(FuncFormatter(lambda value, _: si(value)))
    axis.set_label_text(name + (" (log)" if short else ", log scale") * log)


def log_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two bounds, few enough to be read: 1, 2, 5, 10 …, or powers of ten alone."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if 2 <= len(ticks) <= most:
            return ticks
    every = math.ceil(len(ticks) / most)
    if len(ticks) >= 2:
        return ticks[::every]
    return [float(f"{low * (high / low) ** share:.2g}") for share in (0.15, 0.85)]


def si(value: float) -> str:
    """A number with at most three digits and an SI prefix: `20`, `1.5 k`, `300 G`."""
    for power, prefix in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if abs(value) >= 10**power:
            return f"{value / 10**power:.3g} {prefix}"
    return f"{value:.3g}"


def scatter(axes: Axes, panel: Panel, places: Sequence[Place], points: Sequence[Point], hollow: bool = False) -> None:
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
            style = {"markersize": 3.5 if many else 5, "markeredgewidth": 1, "linestyle": "", "zorder": 3}
            style |= {"markerfacecolor": GROUND} if empty_inside else {}
            axes.plot([x for x, _ in shown], [y for _, y in shown], marker=marker, color=colour, **style)


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


def bars(panel: Panel, places: Sequence[Place], points: Sequence[Point]) -> list[tuple[float, float, float, float]]:
    """The intervals of points as upright lines (x, y, x, y) in the unit of the heading."""
    return [
        (x, panel.shown(place.interval[0]), x, panel.shown(place.interval[1]))
        for place, (x, _) in zip(places, points, strict=True)
        if place.interval
    ]


def heights(points: Sequence[Point], lines: Sequence[tuple[float, float, float, float]]) -> list[float]:
    """All that an upright axis must reach."""
    return [*(y for _, y in points), *(line[1] for line in lines), *(line[3] for line in lines)]


def floor_line(axes: Axes, panel: Panel, values: Sequence[float]) -> str:
    """Limits of an upright axis of scores, with the score of guessing as a line where it is near enough.

    Args:
        values: all that is drawn, in the unit of the heading.

    Returns:
        What to say where it is far off, which would press all else into a corner; else nothing.
    """
    low, high, floor, said = limits(panel, values)
    axes.set_ylim(low, high)
    if floor is not None:
        axes.axhline(floor, color=KINDS["none"][0], linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    return said


def limits(panel: Panel, values: Sequence[float]) -> tuple[float, float, float | None, str]:
    """Bounds for scores, the score of guessing where it is within or near them, and what to say where it is not."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) * 0.1 or 1.0
    if panel.floor is None:
        return low - 0.08 * span, high + 0.08 * span, None, ""
    floor = panel.shown(panel.floor)
    text = f"guessing {panel.column.text(panel.floor)}"
    if low - 0.6 * span <= floor <= high + 0.6 * span:
        low, high = min(low, floor), max(high, floor)
        return low - 0.08 * (high - low or span), high + 0.08 * (high - low or span), floor, ""
    return low - 0.08 * span, high + 0.08 * span, None, text + (" (above)" if floor > high else " (below)")


def spread_note(found: Sequence[Panel]) -> str:
    """What points and bars stand for."""
    several = any(len(place.values) > 1 for panel in found for place in panel.places)
    sure = any(place.interval for panel in found for place in panel.places)
    of = "mean over seeds" if several else "one seed"
    return f"Scores are of the test set, {of}." + (" Bars: 95 % bootstrap intervals." if sure else "")


def sign_notes(layout: Layout) -> list[str]:
    """The signs beside scores, explained as below the table."""
    return [*intervals.notes(layout), *(note for note in layout.legend if note.startswith((BUDGET, GUESSING)))]


def budget_note(places: Iterable[Place]) -> str:
    """What hollow marks stand for, where there are any."""
    return (
        f"Hollow: {BUDGET} stopped by its budget, before its plateau." if any(not p.converged for p in places) else ""
    )


def company_note(places: Iterable[Place]) -> str:
    """How many trials shared the machine while seconds were taken."""
    numbers = sorted({n for p in places for c in p.cells if (n := (c["cost"] or {}).get("trials_at_once"))})
    if not numbers:
        return ""
    if numbers == [1]:
        return "Seconds: each trial had the machine to itself."
    return f"Seconds: with {', '.join(map(str, numbers))} trials at once on the machine."


def listed(parts: Mapping[str, str], most: int = 8) -> str:
    """`asr: …; intent: …`, shortened where there are many."""
    said = [f"{name}: {text}" for name, text in list(parts.items())[:most]]
    return "; ".join(said) + (f"; and {len(parts) - most} more" if len(parts) > most else "")


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
        figure.savefig(written[-2], dpi=STYLE["savefig.dpi"], metadata={"Software": None})
        written[-1].write_text(svg(figure, themed=False), "utf-8")
    return written
