"""Scales: axes of scores and costs, named with their units, with honest bounds and a few round ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from orchestrator.report.drawing import FAINT, FONT, KINDS, SOFT
from orchestrator.report.panels import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis


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
