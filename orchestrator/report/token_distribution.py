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
from matplotlib.ticker import MaxNLocator

from orchestrator.evenness import FIFTH
from orchestrator.matrix import COORDINATES
from orchestrator.report import drawing
from orchestrator.report.layout import COLUMN
from orchestrator.report.tables import wrap
from orchestrator.report.token_table import OF_DECODERS, speech_coordinates, varying
from orchestrator.report.words import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from orchestrator.matrix import Matrix

FONT, PANEL, GAP, CHARACTER_INCHES, LINE_INCHES = 9, 2.8, 0.72, 0.065, 0.19
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
WORDS = {"encoder": "", "layer": "layer ", "codebook": "k", "bpe": "bpe"}

PANELS = (
    ("Use of tokens", "used token types, rarest first (%)", "occurrences (%)", 3.7),
    ("Variance, frames as stored", "directions, weakest first (%)", "variance (%)", 2.6),
    ("Variance, dimensions normalised", "directions, weakest first (%)", "variance (%)", 2.6),
)
"""Titles and axes of the panels, and how wide they are, in inches."""
NOTE = (
    "On the dotted diagonal all types are equally common, all directions equally strong. Marks: the rarest 20 % of the used "
    "types, the weakest 20 % of the directions. Spectra: of training frames (black to grey), and of the centroids that stand "
    "for them. Occurrences and variance are different things: compare curves within a panel."
)
STREAM = ("features", "downsample", "dedup", "bpe")
"""What is made of units or frames after their encoder, layer and codebook."""


@dataclass(frozen=True)
class Curve:
    """One line in one panel.

    Attributes:
        places, share: where it runs, from 0 to 1.
        kind: `tokens`, or of a spectrum `frames` or `centroids`.
        colour, dashes, mark: what these tell of it. Curves alike in them look alike in every panel.
    """

    label: str
    places: Sequence[float]
    share: Sequence[float]
    kind: str
    colour: str
    dashes: str = ""
    mark: str = ""


def has_material(matrix: Matrix) -> bool:
    """Whether any cell has an analysis to be drawn."""
    return any(cell.get("analysis") for cell in matrix.cells)


def describe(matrix: Matrix) -> str:
    """How much the rarest fifth of the used token types is used, by the configurations that are drawn."""
    said = {}
    for cell in matrix.cells:
        used = (cell.get("analysis") or {}).get("distribution")
        if used:
            name = f"{cell['corpus']} {_label(cell, ('encoder', 'layer', 'codebook', 'bpe', 'dedup'))}"
            said.setdefault(name, f"{100 * used['rarest_fifth_share']:.1f} %")
    head = "Lorenz curves of token use and of the variance of frames"
    return f"{head}; share of the rarest fifth of the used token types: {drawing.listed(said)}." if said else f"{head}."


@drawing.styled
def token_distribution(matrix: Matrix) -> Figure:
    """Draws the curves of every token configuration, and the spectra of frames and of the centroids that stand for them.

    Tasks whose curves coincide (several on one corpus) share a row; so do configurations that share a curve.
    """
    groups = _groups(matrix.cells)
    curves = [curve for panels in groups.values() for panel in panels for curve in panel]
    styles = _styles(curves)
    width = 0.2 + sum(across + GAP for *_, across in PANELS)
    columns = max(1, int(width / ((max(map(len, styles), default=1) + 7) * CHARACTER_INCHES)))
    notes = wrap(NOTE, int(width / CHARACTER_INCHES))
    legend = (math.ceil(len(styles) / columns) + 1) * LINE_INCHES
    bottom = legend + (len(notes) + 1) * LINE_INCHES
    height = 0.55 + len(groups) * (PANEL + 1.05) + bottom
    figure = Figure(figsize=(width, height), facecolor="white", dpi=130)
    FigureCanvasAgg(figure)

    def write(x: float, y: float, text: str, **style: Any) -> None:
        figure.text(x / width, y / height, text, **style)

    write(0.2, height - 0.3, f"{matrix.space}: how even tokens and variance are", size=FONT + 3, weight="bold")
    for g, (title, panels) in enumerate(groups.items()):
        top, left = height - 0.55 - g * (PANEL + 1.05), 0.65
        write(0.2, top - 0.15, title, size=FONT + 1, weight="bold")
        for p, (panel, (heading, x, y, across)) in enumerate(zip(panels, PANELS, strict=True)):
            place = (left / width, (top - 0.5 - PANEL) / height, across / width, PANEL / height)
            axes = figure.add_axes(place)
            _draw(axes, panel, styles)
            if p == 0 and panel:
                _magnify(axes, panel, styles)
            axes.set_title(heading, fontsize=FONT, loc="left")
            axes.set_xlabel(x, fontsize=FONT)
            axes.set_ylabel(y, fontsize=FONT)
            left += across + GAP
    if handles := [Line2D([], [], label=label, **style) for label, style in styles.items()]:
        place = {"loc": "upper left", "bbox_to_anchor": (0.15 / width, (bottom - 0.05) / height)}
        figure.legend(handles=handles, ncols=columns, fontsize=FONT - 1, frameon=False, handlelength=3.4, **place)
    for i, note in enumerate(reversed(notes)):
        write(0.2, 0.12 + i * LINE_INCHES, note, size=FONT - 1, color=drawing.SOFT)
    return figure


def _groups(cells: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[Curve], ...]]:
    """Title → the curves of its panels; tasks with the same curves have one title."""
    cells = [cell for cell in cells if cell.get("analysis")]
    labels = [name for name in varying(cells) if name not in COLUMN]
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
    panels: tuple[dict[str, Curve], ...] = ({}, {}, {})
    for cell in cells:
        analysis = cell["analysis"]
        places, used = analysis["quantiles"], analysis.get("distribution")
        source = {name: cell[name] for name in COORDINATES if name not in (*STREAM, *COLUMN, *OF_DECODERS)}
        if cell["codebook_corpus"] == cell["corpus"]:
            source["codebook_corpus"] = None  # each corpus has its own: alike in every row
        colour = json.dumps(source)
        if used:
            label = _label(cell, labels) or "tokens"
            stream = {"dashes": json.dumps(cell["bpe"]), "mark": json.dumps(cell["dedup"])}
            panels[0].setdefault(label, Curve(label, places, used["curve"], "tokens", colour, **stream))
        kind = "centroids" if used else "frames"
        label = f"{kind} {_label(cell, [name for name in labels if name not in STREAM])}".strip()
        for panel, of in ((panels[1], "raw"), (panels[2], "normalised")):
            panel.setdefault(label, Curve(label, places, analysis["spectrum"][of]["curve"], kind, colour))
    return tuple(list(panel.values()) for panel in panels)


def _label(cell: Mapping[str, Any], names: Sequence[str]) -> str:
    """The coordinates that tell curves apart. How many tokens or frames make a position changes no curve."""
    words = []
    for name in names:
        value = cell[name]
        if value is None or name in ("features", "downsample"):
            continue
        if name == "dedup":
            words += [] if value else ["all frames"]
        else:
            words.append(WORDS.get(name, name.replace("_", " ") + " ") + show(value))
    return " ".join(words)


def _styles(curves: Sequence[Curve]) -> dict[str, dict[str, Any]]:
    """How each label is drawn: colour by what was quantised and how finely, dashes and marks by what was made of it."""
    tokens = [curve for curve in curves if curve.kind == "tokens"]
    colours = _colours(list(dict.fromkeys(curve.colour for curve in curves if curve.kind != "frames")))
    greys = _greys(list(dict.fromkeys(curve.colour for curve in curves if curve.kind == "frames")))
    dashes, marks = (list(dict.fromkeys(keys)) for keys in ([c.dashes for c in tokens], [c.mark for c in tokens]))
    styles: dict[str, dict[str, Any]] = {}
    for curve in curves:
        style = {"linestyle": "-", "linewidth": 1.2, "marker": MARKERS[0], "markersize": 4}
        if curve.kind == "frames":
            style |= {"color": greys[curve.colour], "linewidth": 1.8}
        else:
            style["color"] = colours[curve.colour]
        if curve.kind == "tokens":
            style["linestyle"] = DASHES[dashes.index(curve.dashes) % len(DASHES)]
            style["marker"] = MARKERS[marks.index(curve.mark) % len(MARKERS)]
        styles[curve.label] = style
    return styles


def _colours(keys: Sequence[str]) -> dict[str, Any]:
    if len(keys) <= len(OKABE_ITO) - 1:  # black is for frames
        return dict(zip(keys, OKABE_ITO, strict=False))
    return {key: colormaps["viridis"](0.92 * i / (len(keys) - 1)) for i, key in enumerate(keys)}


def _greys(keys: Sequence[str]) -> dict[str, Any]:
    return {key: colormaps["Greys_r"](0.6 * i / max(len(keys) - 1, 1)) for i, key in enumerate(keys)}


def _draw(axes: Axes, curves: Sequence[Curve], styles: Mapping[str, Mapping[str, Any]]) -> None:
    axes.plot([0, 100], [0, 100], color="#999999", linewidth=0.8, linestyle=":")
    axes.axvline(100 * FIFTH, color="#cccccc", linewidth=0.8)
    for curve in curves:
        places = [100 * place for place in curve.places]
        marked = min(range(len(places)), key=lambda i, at=curve.places: abs(at[i] - FIFTH))
        axes.plot(places, [100 * s for s in curve.share], markevery=[marked], **styles[curve.label])
    axes.set(xlim=(0, 100), ylim=(0, 100), xticks=range(0, 101, 20), yticks=range(0, 101, 20))
    axes.tick_params(labelsize=FONT - 1)
    axes.grid(alpha=0.25, linewidth=0.5)
    if not curves:
        axes.text(50, 50, "no configuration of this kind", ha="center", va="center", fontsize=FONT, color="#777777")


def _magnify(axes: Axes, curves: Sequence[Curve], styles: Mapping[str, Mapping[str, Any]]) -> None:
    """The surroundings of the mark, where no curve can be: above the diagonal."""
    inset = axes.inset_axes((0.09, 0.53, 0.4, 0.42))
    _draw(inset, curves, styles)
    near = [
        100 * share
        for curve in curves
        for place, share in zip(curve.places, curve.share, strict=True)
        if abs(place - FIFTH) < 0.045
    ]
    room = max(0.05 * max(near), 0.1)
    inset.set(xlim=(16, 24), ylim=(max(0, min(near) - room), max(near) + room), xticks=(16, 20, 24))
    inset.yaxis.set_major_locator(MaxNLocator(5))
    inset.tick_params(labelsize=FONT - 2)
    axes.indicate_inset_zoom(inset, edgecolor="#777777", alpha=0.6)
