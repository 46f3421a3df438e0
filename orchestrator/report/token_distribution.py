"""How evenly tokens are used and variance is spread: Lorenz curves, a row of panels for each task, on one scale.

All panels are read alike: the smallest shares come first, and the diagonal is perfectly even. What is on the two axes
differs, see `orchestrator.stages.analysis` for what may be compared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.matrix import COORDINATES
from orchestrator.report.layout import COLUMN
from orchestrator.report.tables import wrap
from orchestrator.report.token_table import speech_coordinates, varying

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from orchestrator.matrix import Matrix

FONT, PANEL, CHARACTER_INCHES, LINE_INCHES = 9, 3.6, 0.07, 0.19
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Told apart by colour-blind eyes; where there are more to tell, viridis."""
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1.2)),
    (0, (6, 1.5, 1.5, 1.5)),
    (0, (3, 3)),
    (0, (8, 2, 2, 2, 2, 2)),
)
MARKERS = "osD^v"
POINT = 0.2

PANELS = (
    ("Use of tokens", "used token types, rarest first (%)", "occurrences (%)"),
    ("Variance as stored", "directions, weakest first (%)", "variance (%)"),
    ("Variance, dimensions normalised", "directions, weakest first (%)", "variance (%)"),
)
STREAM = ("dedup", "bpe", "downsample", "features")
"""What a curve's dashes tell; its colour tells the other coordinates."""


@dataclass(frozen=True)
class Curve:
    """One line in one panel. `looks` are its coordinates, by which it has the same colour and dashes in every panel."""

    label: str
    looks: Mapping[str, Any]
    places: Sequence[float]
    share: Sequence[float]


def has_material(matrix: Matrix) -> bool:
    """Whether any cell has an analysis to be drawn."""
    return any(cell.get("analysis") for cell in matrix.cells)


def token_distribution(matrix: Matrix) -> Figure:
    """Draws the curves of every token configuration, and the spectra of frames and of the centroids that stand for them.

    Tasks whose curves coincide (several on one corpus) share a row; so do configurations that share a curve.
    """
    groups = _groups([cell for cell in matrix.cells if cell.get("analysis")])
    curves = [curve for panels in groups.values() for panel in panels for curve in panel]
    styles = _styles(curves)
    labels = {curve.label: styles[curve.label] for curve in curves}
    longest = max(map(len, labels), default=1)
    width = 3 * (PANEL + 0.7)
    columns = max(1, min(len(labels), int(width / ((longest + 7) * CHARACTER_INCHES))))
    legend = (math.ceil(len(labels) / columns) + 1.5) * LINE_INCHES
    notes = wrap(
        "The diagonal is even: every type as common, every direction as strong as another. Marks: what the rarest 20 % of the "
        "used types, or the weakest 20 % of the directions, hold. Solid black: frames; other spectra: the centroids that stand "
        "for them.",
        int(width / CHARACTER_INCHES),
    )
    bottom = legend + (len(notes) + 0.5) * LINE_INCHES
    height = 0.55 + len(groups) * (PANEL + 0.95) + bottom
    figure = Figure(figsize=(width, height), facecolor="white", dpi=130)
    FigureCanvasAgg(figure)
    figure.text(
        0.2 / width, 1 - 0.3 / height, f"{matrix.space}: how even tokens and variance are", size=FONT + 3, weight="bold"
    )
    for g, (title, panels) in enumerate(groups.items()):
        top = height - 0.55 - g * (PANEL + 0.95)
        figure.text(0.2 / width, (top - 0.15) / height, title, size=FONT + 1, weight="bold")
        for p, panel in enumerate(panels):
            place = (0.65 + p * (PANEL + 0.7), top - 0.55 - PANEL + 0.1, PANEL - 0.1, PANEL - 0.1)
            axes = figure.add_axes((place[0] / width, place[1] / height, place[2] / width, place[3] / height))
            _draw(axes, panel, styles, *PANELS[p])
    handles = [Line2D([], [], label=label, **style) for label, style in labels.items()]
    if handles:
        place = (0.15 / width, (bottom - 0.05) / height)
        figure.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=place,
            ncols=columns,
            fontsize=FONT - 1,
            frameon=False,
            handlelength=3.4,
        )
    for i, note in enumerate(reversed(notes)):
        figure.text(0.2 / width, (0.1 + i * LINE_INCHES) / height, note, size=FONT - 1, color="#333333")
    return figure


def _groups(cells: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[Curve], ...]]:
    """Title → the curves of its panels; tasks with the same curves have one title."""
    labels = [name for name in varying(cells) if name not in COLUMN] if cells else []
    tasks: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = {}
    for cell in cells:
        speech = json.dumps({k: v for k, v in speech_coordinates(cell).items() if k not in COLUMN})
        tasks.setdefault(tuple(cell[name] for name in COLUMN), {}).setdefault(speech, cell)
    alike: dict[str, tuple[list[tuple[Any, ...]], tuple[list[Curve], ...]]] = {}
    for task, members in tasks.items():
        panels = _panels(list(members.values()), labels)
        key = json.dumps([[(curve.label, curve.share) for curve in panel] for panel in panels])
        alike.setdefault(key, ([], panels))[0].append(task)
    return {_title(tasks): panels for tasks, panels in alike.values()}


def _title(tasks: Sequence[tuple[Any, ...]]) -> str:
    names = dict.fromkeys(" ".join(str(word) for word in task[:2] if word) for task in tasks)
    where = dict.fromkeys(f"{corpus}" + (f" fold {fold}" if fold is not None else "") for *_, corpus, fold in tasks)
    return f"{', '.join(names)} · {', '.join(where)}"


def _panels(cells: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> tuple[list[Curve], ...]:
    tokens, raw, normalised = [], [], []
    for cell in cells:
        analysis = cell["analysis"]
        places, looks = analysis["quantiles"], {name: cell[name] for name in COORDINATES}
        if used := analysis.get("distribution"):
            tokens.append(Curve(_label(cell, labels), looks, places, used["curve"]))
            looks |= dict.fromkeys(STREAM) | {"features": "centroids"}
            name = "centroids " + _label(cell, [label for label in labels if label not in STREAM])
        else:
            looks |= dict.fromkeys(STREAM) | {"features": "continuous"}
            name = "frames " + _label(cell, [label for label in labels if label not in STREAM])
        for panel, kind in ((raw, "raw"), (normalised, "normalised")):
            panel.append(Curve(name.strip(), looks, places, analysis["spectrum"][kind]["curve"]))
    return tuple(list({(c.label, *c.share): c for c in panel}.values()) for panel in (tokens, raw, normalised))


def _label(cell: Mapping[str, Any], labels: Sequence[str]) -> str:
    written = {
        "features": lambda v: "" if v == "discrete" else str(v),
        "encoder": str,
        "layer": lambda v: f"layer {v}",
        "codebook": lambda v: f"k{v}",
        "bpe": lambda v: f"bpe{v}",
        "dedup": lambda v: "" if v else "all frames",
    }
    words = [
        written.get(name, lambda v, n=name: f"{n.replace('_', ' ')} {v}")(cell[name])
        for name in labels
        if cell[name] is not None
    ]
    return " ".join(word for word in words if word) or cell["features"]


def _styles(curves: Sequence[Curve]) -> dict[str, dict[str, Any]]:
    """How each label is drawn: colour by what was quantised and how finely, dashes by what was made of the units."""
    by_colour = [name for name in COORDINATES if name not in (*STREAM, *COLUMN)]
    looks = {curve.label: curve.looks for curve in curves}
    frames = [look for look in looks.values() if look["features"] == "continuous"]
    others = [look for look in looks.values() if look["features"] != "continuous"]

    def keys(of: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(json.dumps([look[name] for name in names]) for look in of))

    colours = _colours(keys(others, by_colour))
    greys = _greys(keys(frames, by_colour))
    dashes = keys([look for look in others if look["features"] != "centroids"], ("bpe", "downsample", "features"))
    marks = keys([look for look in others if look["features"] != "centroids"], ("dedup",))
    styles: dict[str, dict[str, Any]] = {}
    for label, look in looks.items():
        key = json.dumps([look[name] for name in by_colour])
        if look["features"] == "continuous":
            styles[label] = {"color": greys[key], "linestyle": "-", "linewidth": 1.8, "marker": "s", "markersize": 4}
            continue
        stream = json.dumps([look[name] for name in ("bpe", "downsample", "features")])
        dash, mark = (dashes.index(stream), marks.index(json.dumps([look["dedup"]]))) if stream in dashes else (0, 0)
        styles[label] = {"color": colours[key], "linestyle": DASHES[dash % len(DASHES)], "linewidth": 1.2}
        styles[label] |= {"marker": MARKERS[mark % len(MARKERS)], "markersize": 4}
    return styles


def _colours(keys: Sequence[str]) -> dict[str, Any]:
    if len(keys) <= len(OKABE_ITO) - 1:  # black is for frames
        return dict(zip(keys, OKABE_ITO, strict=False))
    return {key: colormaps["viridis"](0.92 * i / (len(keys) - 1)) for i, key in enumerate(keys)}


def _greys(keys: Sequence[str]) -> dict[str, Any]:
    return {key: colormaps["Greys_r"](0.6 * i / max(len(keys) - 1, 1)) for i, key in enumerate(keys)}


def _draw(
    axes: Axes, curves: Sequence[Curve], styles: Mapping[str, Mapping[str, Any]], title: str, x: str, y: str
) -> None:
    axes.plot([0, 100], [0, 100], color="#999999", linewidth=0.8, linestyle=":")
    axes.axvline(100 * POINT, color="#cccccc", linewidth=0.8)
    for curve in curves:
        style = dict(styles[curve.label])
        share = [100 * value for value in curve.share]
        places = [100 * value for value in curve.places]
        nearest = min(range(len(places)), key=lambda i: abs(curve.places[i] - POINT))
        axes.plot(places, share, markevery=[nearest], **style)
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=FONT, loc="left")
    axes.tick_params(labelsize=FONT - 1)
    axes.set_xticks(range(0, 101, 20))
    axes.set_yticks(range(0, 101, 20))
    axes.xaxis.label.set_size(FONT)
    axes.yaxis.label.set_size(FONT)
    axes.grid(alpha=0.25, linewidth=0.5)
    if not curves:
        axes.text(50, 50, "no configuration of this kind", ha="center", va="center", fontsize=FONT, color="#777777")
