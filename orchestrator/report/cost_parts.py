"""What training costs and why: discrete against continuous, part by part, and where the seconds of a cell go."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from orchestrator.report import drawing, scales
from orchestrator.report.drawing import FAINT, FONT, INK
from orchestrator.report.layout import ROW
from orchestrator.report.panels import Cell, Standing, panels, selected
from orchestrator.report.ratios import OF_THE_ARM, PARTS, converged, part_ratios
from orchestrator.report.words import is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from orchestrator.matrix import Matrix

PAPER, BAND, DECODERS = "2411.08742", (0.21, 0.27), ("qwen1.5-0.5b", "llama3.1-8b")
"""The study, its training time of discrete as a share of continuous (grade S), and its decoders."""
MOST_RATIOS, MOST_BARS = 6, 16
SMALL = 0.01
"""Stages below this share of the largest bar are drawn as one."""
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "ooo", "")


@dataclass(frozen=True, eq=False)
class Comparison:
    """A discrete configuration against a continuous one that differs from it in its features alone.

    Attributes:
        ratios: part → one ratio for each task and seed in which both reached their plateau.
        left_out: pairs in which one did not.
    """

    label: str
    ratios: Mapping[str, list[float]]
    left_out: int


def has_material(matrix: Matrix) -> bool:
    """Whether there is a ratio, or the seconds of some cell are known by stage."""
    return any(one.ratios for one in comparisons(matrix)) or bool(_bars(matrix)[0])


def describe(matrix: Matrix) -> str:
    """The ratios of training time, and the most expensive configuration."""
    said = {
        one.label: f"{statistics.geometric_mean(one.ratios['seconds_to_best']):.0%} of the training time"
        for one in comparisons(matrix)
        if one.ratios.get("seconds_to_best")
    }
    bars, _ = _bars(matrix)
    dear = max(bars, key=lambda name: sum(bars[name].values()), default=None)
    parts = [
        f"Training cost of discrete tokens as a share of continuous features': {drawing.listed(said)}" if said else ""
    ]
    parts.append(f"{dear} takes most seconds, {scales.si(sum(bars[dear].values()))} a cell" if dear else "")
    return ("; ".join(part for part in parts if part) or "Cost by parts: nothing measured yet") + "."


@drawing.styled
def cost_parts(matrix: Matrix) -> Figure:
    """Draws ratios of discrete to continuous, part by part, and stacked bars of seconds by stage."""
    title = f"{matrix.space}: where the cost is"
    every = [one for one in comparisons(matrix) if one.ratios]
    shown = every[:MOST_RATIOS]
    bars, bars_note = _bars(matrix)
    if not shown and not bars:
        return drawing.empty(title, "no pair of cells has converged, and no seconds are known by stage")
    stages = _stages(bars)
    handles = [
        Patch(facecolor=COLOURS[i % 8], hatch=HATCHES[i % 8], edgecolor="#ffffff", linewidth=0, label=stage)
        for i, stage in enumerate(stages)
    ]
    styles = drawing.line_styles([(one.label, "discrete") for one in shown])
    markers = dict(zip(styles, "soDv^P", strict=False))
    compared: list[Line2D | Patch] = [
        Line2D([], [], color=styles[one.label]["color"], marker=markers[one.label], linestyle="", label=one.label)
        for one in shown
    ]
    claimed = bool(shown) and _is_of_the_paper(matrix)
    if claimed:
        compared.append(Patch(color=FAINT, alpha=0.35, linewidth=0, label="published, seconds: 21–27 % (S)"))
    count = bool(shown) + bool(bars)
    longest = max([len(label) for label in [*(bars if bars else ()), *(PARTS.values() if shown else ())]])
    left_out = sum(one.left_out for one in shown)
    figure, axes = drawing.sheet(
        title,
        count,
        columns=1,
        left=longest * drawing.CHARACTER * 0.92 + 0.25,
        height=max(1.9 if shown else 0.0, 0.22 * len(bars) + 0.1 if bars else 0.0),
        handles=compared,
        further=handles,
        notes=(
            "Ratios: of pairs that differ in their features alone and both reached their plateau"
            + (f" ({left_out} pairs did not and are left out)" if left_out else "")
            + "; small: a task and seed, large: their geometric mean. Seconds = epochs × seconds an epoch."
            if shown
            else "",
            f"The first {MOST_RATIOS} of {len(every)} comparisons." if len(every) > MOST_RATIOS else "",
            bars_note,
            drawing.company_note(place for panel in panels(matrix) for place in panel.scored),
        ),
    )
    if shown:
        _draw_ratios(axes[0], shown, styles, markers, claimed)
    if bars:
        _draw_bars(axes[-1], bars, stages)
    return figure


def comparisons(matrix: Matrix) -> list[Comparison]:
    """Every discrete row against every continuous one with the same other coordinates, over tasks and seeds."""
    found = panels(matrix, first_only=True)
    same = [name for name in ROW if name not in OF_THE_ARM]
    pairs: dict[tuple[int, int], tuple[str, list[tuple[Cell, Cell]]]] = {}
    for panel in found:
        arms = {kind: [place for place in panel.places if place.kind == kind] for kind in ("discrete", "continuous")}
        several = len(arms["continuous"]) > 1
        for one in arms["discrete"]:
            for other in arms["continuous"]:
                if all(one.coordinates[name] == other.coordinates[name] for name in same):
                    label = one.label + (f" ÷ {other.label}" if several else " ÷ continuous")
                    of = pairs.setdefault((one.row, other.row), (label, []))[1]
                    seeds = {cell["seed"]: cell for cell in other.cells}
                    of += [(cell, seeds[cell["seed"]]) for cell in one.cells if cell["seed"] in seeds]
    return [_compared(label, of) for label, of in pairs.values() if of]


def _compared(label: str, pairs: Sequence[tuple[Cell, Cell]]) -> Comparison:
    left_out = sum(not all(map(converged, pair)) for pair in pairs)
    return Comparison(label, part_ratios(pairs), left_out)


def _is_of_the_paper(matrix: Matrix) -> bool:
    of_paper = PAPER in str((matrix.reference or {}).get("source", ""))
    return of_paper or any(str(cell["decoder"]) in DECODERS for cell in matrix.cells)


def _bars(matrix: Matrix) -> tuple[dict[str, dict[str, float]], str]:
    """Configuration → stage → its mean seconds a cell, over the tasks that all shown configurations have finished."""
    found = panels(matrix, first_only=True)
    rows, left_out = selected(found, MOST_BARS)
    rows += [place.row for place in found[0].places if place.kind == "none"][:1] if found else []
    by_row: dict[int, dict[int, Standing]] = {}
    for p, panel in enumerate(found):
        for place in panel.places:
            if place.row in rows and any((cell["cost"] or {}).get("stages") for cell in place.cells):
                by_row.setdefault(place.row, {})[p] = place
    together = set.intersection(*map(set, by_row.values())) if by_row else set()
    bars: dict[str, dict[str, float]] = {}
    for row in sorted(by_row):
        places = [place for p, place in by_row[row].items() if p in together or not together]
        cells = [cell for place in places for cell in place.cells if (cell["cost"] or {}).get("stages")]
        of = bars.setdefault(places[0].label, {})
        for cell in cells:
            for stage in cell["cost"]["stages"]:
                if is_number(stage["share"]):
                    of[stage["stage"]] = of.get(stage["stage"], 0.0) + stage["share"] / len(cells)
    over = f"the {len(together)} tasks that all have finished" if together else "what each has finished, which differs"
    said = f"Seconds: mean of a cell over {over}; a stage that cells share counts by its share. {left_out}"
    return bars, said if bars else ""


def _stages(bars: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The stages to be told apart, the largest first; the small ones as `other stages`."""
    largest = max((sum(of.values()) for of in bars.values()), default=0.0)
    size: dict[str, float] = {}
    for of in bars.values():
        for stage, seconds in of.items():
            size[stage] = max(size.get(stage, 0.0), seconds)
    order = sorted(size, key=lambda stage: -size[stage])
    told = [stage for stage in order if size[stage] >= SMALL * largest][: len(COLOURS) - 1]
    return told + (["other stages"] if len(told) < len(order) else [])


def _draw_ratios(
    axes: Axes, shown: Sequence[Comparison], styles: Mapping[str, Any], markers: Mapping[str, str], claimed: bool
) -> None:
    parts = [part for part in PARTS if any(one.ratios.get(part) for one in shown)]
    if claimed and "seconds_to_best" in parts:
        y = parts.index("seconds_to_best")
        axes.fill_between(BAND, y - 0.45, y + 0.45, color=FAINT, alpha=0.35, linewidth=0)
    axes.axvline(1, color=INK, linewidth=0.8)
    for i, one in enumerate(shown):
        aside = 0.7 * ((i + 0.5) / len(shown) - 0.5)
        colour, marker = styles[one.label]["color"], markers[one.label]
        for y, part in enumerate(parts):
            ratios = one.ratios.get(part, [])
            axes.plot(ratios, [y + aside] * len(ratios), marker, color=colour, markersize=2.5, alpha=0.6)
            if ratios:
                axes.plot(statistics.geometric_mean(ratios), y + aside, marker, color=colour, markersize=6)
    every = [ratio for one in shown for ratios in one.ratios.values() for ratio in ratios]
    low, high = min([*every, 0.5, *(BAND if claimed else ())]) / 1.15, max([*every, 1.0]) * 1.15
    axes.set(xscale="log", xlim=(low, high), ylim=(len(parts) - 0.4, -0.6), yticks=range(len(parts)))
    axes.xaxis.set_major_locator(FixedLocator(scales.log_ticks(low, high, most=8)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}"))
    axes.set_yticklabels([PARTS[part] for part in parts])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=FAINT, alpha=0.3, linewidth=0.5)
    axes.set_xlabel("discrete as a share of continuous, to the best evaluation (%, log scale)")
    axes.set_title("Training, discrete ÷ continuous", loc="left", weight="bold", fontsize=FONT)


def _draw_bars(axes: Axes, bars: Mapping[str, Mapping[str, float]], stages: Sequence[str]) -> None:
    most = max((sum(of.values()) for of in bars.values()), default=1.0)
    for y, of in enumerate(bars.values()):
        start = 0.0
        for i, stage in enumerate(stages):
            told = of.get(stage, 0.0) if stage != "other stages" else sum(v for k, v in of.items() if k not in stages)
            axes.barh(
                y, told, 0.72, start, color=COLOURS[i % 8], hatch=HATCHES[i % 8], edgecolor="#ffffff", linewidth=0
            )
            start += told
        axes.text(start + 0.01 * most, y, scales.si(start), va="center", fontsize=FONT - 1)
    axes.set(ylim=(len(bars) - 0.4, -0.6), xlim=(0, most * 1.1 or 1.0), yticks=range(len(bars)))
    axes.set_yticklabels(list(bars))
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: scales.si(value)))
    axes.set_xlabel("seconds a cell")
    axes.set_title("Seconds by stage", loc="left", weight="bold", fontsize=FONT)
