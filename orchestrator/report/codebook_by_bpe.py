"""Codebook size by BPE vocabulary: a panel a task, the primary metric of every pair that the space has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from orchestrator.report import drawing
from orchestrator.report.drawing import CHARACTER, FONT, ON_LIGHT, SOFT
from orchestrator.report.layout import ROW
from orchestrator.report.panels import Panel, Standing, panels, words
from orchestrator.report.words import is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from orchestrator.matrix import Matrix

AXES = ("codebook", "bpe")
FIXED = tuple(name for name in ROW if name not in ("features", "downsample", *AXES))
GROUPS, SIDE = 4, 12
"""How many groups of otherwise equal configurations are drawn at most, and values an axis."""
COLOURS = LinearSegmentedColormap.from_list("worst_to_best", colormaps["viridis_r"]([0.02 * i for i in range(27)]))
"""the lighter half of viridis: dark ink is legible on all of it."""


@dataclass(frozen=True, eq=False)
class Group:
    """Discrete configurations that differ in codebook size and BPE only, in all tasks.

    Attributes:
        fixed: what they share, in words.
        panels: of each task its places by (codebook, bpe); bpe is None without BPE.
    """

    fixed: str
    panels: list[tuple[Panel, dict[tuple[int, int | None], Standing]]]

    def values(self, axis: int) -> list[int | None]:
        """The codebook sizes (0) or the BPE vocabularies (1), the smallest first, no BPE before all."""
        found = {key[axis] for _, places in self.panels for key in places}
        return sorted(found, key=lambda value: (value is not None, value or 0))

    @property
    def scored(self) -> int:
        """How many places have a score."""
        return sum(place.entry.value is not None for _, places in self.panels for place in places.values())


def has_material(matrix: Matrix) -> bool:
    """Whether both axes have two values, and some task at least three scores, in one group."""
    return any(_tells(group) for group in _groups(matrix))


def describe(matrix: Matrix) -> str:
    """The best pair of every task in the largest group."""
    groups = [group for group in _groups(matrix) if _tells(group)]
    if not groups:
        return "Codebook size by BPE vocabulary: nothing to compare yet."
    said = {}
    for panel, places in groups[0].panels:
        if (best := _best(panel, places)) is not None:
            k, bpe = next(key for key, place in places.items() if place is best)
            score = panel.column.text(best.entry.value)
            said[panel.column.title] = f"k {k}, {'no BPE' if bpe is None else f'BPE {bpe}'} ({score})"
    return f"Scores by codebook size and BPE vocabulary; the best pair of each task: {drawing.listed(said)}."


@drawing.styled
def codebook_by_bpe(matrix: Matrix) -> Figure:
    """Draws k × BPE of every task; configurations that differ in more have panels of their own."""
    title = f"{matrix.space}: codebook size by BPE vocabulary"
    groups = [group for group in _groups(matrix) if group.scored]
    shown = groups[: max(1, min(GROUPS, drawing.PANELS // max(1, len(matrix.layout.columns))))]
    drawn, more = drawing.limited([(g, panel, places) for g in shown for panel, places in g.panels if _scores(places)])
    if not drawn:
        return drawing.empty(title, "no discrete cell has a score yet")
    ks = [len(group.values(0)) for group in shown]
    bpes = [len(group.values(1)) for group in shown]
    columns = max(1, min(3, int(6.9 / (min(max(bpes), SIDE) * 0.4 + 0.6))))
    several = len(shown) > 1
    figure, axes = drawing.sheet(
        title,
        len(drawn),
        columns,
        height=min(max(ks), SIDE) * 0.3 + 0.05,
        left=0.72,
        gap=(0.62, 0.88 if several else 0.75),
        handles=[
            Patch(facecolor=COLOURS(0.0), edgecolor=SOFT, linewidth=0.5, label="worst of its panel"),
            Patch(facecolor=COLOURS(0.5), edgecolor=SOFT, linewidth=0.5, label="half way"),
            Patch(facecolor=COLOURS(1.0), edgecolor=SOFT, linewidth=0.5, label="best of its panel (bold)"),
        ],
        notes=(
            f"All panels: {shown[0].fixed}." if not several and shown[0].fixed else "",
            "Colours span the range of each panel alone, however small it is; blank: not in this space.",
            f"{len(shown)} of {len(groups)} groups are shown, those with most scores."
            if len(groups) > len(shown)
            else "",
            more,
            f"Of an axis with more than {SIDE} values, the first {SIDE}." if max(*ks, *bpes) > SIDE else "",
        ),
    )
    for ax, (group, panel, places) in zip(axes, drawn, strict=True):
        _draw(ax, group, panel, places)
        heading = f"{panel.column.title}, {panel.column.heading}"
        ax.set_title(
            f"{group.fixed}\n{heading}" if several else heading, loc="left", weight="bold", fontsize=FONT - 0.5
        )
    return figure


def _groups(matrix: Matrix) -> list[Group]:
    """The one with most scores first."""
    by_key: dict[tuple[object, ...], list[tuple[Panel, dict[tuple[int, int | None], Standing]]]] = {}
    for panel in panels(matrix):
        for place in panel.places:
            if place.kind == "discrete" and is_number(place.coordinates["codebook"]):
                key = tuple(place.coordinates[name] for name in FIXED)
                of = by_key.setdefault(key, [])
                if not of or of[-1][0] is not panel:
                    of.append((panel, {}))
                of[-1][1][place.coordinates["codebook"], place.coordinates["bpe"]] = place
    varying = [name for i, name in enumerate(FIXED) if len({key[i] for key in by_key}) > 1]
    groups = []
    for of in by_key.values():
        coordinates = next(iter(of[0][1].values())).coordinates
        said = words(coordinates, [n for n in FIXED if n in varying or n in ("encoder", "layer", "decoder")])
        if "dedup" in varying and coordinates["dedup"]:
            said += " without repeats"
        groups.append(Group(said, of))
    return sorted(groups, key=lambda group: -group.scored)


def _scores(places: dict[tuple[int, int | None], Standing]) -> list[float]:
    return [place.entry.value for place in places.values() if place.entry.value is not None]


def _tells(group: Group) -> bool:
    return min(len(group.values(0)), len(group.values(1))) > 1 and any(len(_scores(of)) > 2 for _, of in group.panels)


def _best(panel: Panel, places: dict[tuple[int, int | None], Standing]) -> Standing | None:
    scored = [place for place in places.values() if place.entry.value is not None]
    return max(scored, key=lambda place: panel.column.better * place.entry.value, default=None)


def _draw(axes: Axes, group: Group, panel: Panel, places: dict[tuple[int, int | None], Standing]) -> None:
    ks, bpes = group.values(0)[:SIDE], group.values(1)[:SIDE]
    values = [panel.column.better * value for value in _scores(places)]
    low, span = min(values), (max(values) - min(values)) or 1.0
    best = _best(panel, places)
    room = axes.get_position().width * drawing.WIDTH / len(bpes)
    for (k, bpe), place in places.items():
        if k not in ks or bpe not in bpes or place.entry.status == "absent":
            continue
        x, y = bpes.index(bpe), ks.index(k)
        value = place.entry.value
        ground = "none" if value is None else COLOURS((panel.column.better * value - low) / span)
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=ground, edgecolor="#ffffff", linewidth=0.8))
        text = place.entry.text if value is None else panel.column.text(value) + place.entry.marks
        size = min(FONT - 1, FONT * room * 0.95 / (len(text) * CHARACTER))
        ink, weight = (SOFT if value is None else ON_LIGHT), ("bold" if place is best else "normal")
        axes.text(x, y, text, ha="center", va="center", fontsize=size, color=ink, weight=weight)
    axes.set(xlim=(-0.5, len(bpes) - 0.5), ylim=(-0.5, len(ks) - 0.5), xticks=range(len(bpes)), yticks=range(len(ks)))
    axes.set_xticklabels(["none" if bpe is None else str(bpe) for bpe in bpes])
    axes.set_yticklabels([str(k) for k in ks])
    axes.tick_params(length=0)
    axes.set_xlabel("BPE vocabulary")
    axes.set_ylabel("codebook size k")
