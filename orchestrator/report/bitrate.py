"""Score against bitrate: what the speech costs per second of audio, and what it is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from orchestrator.report import drawing, marks, scales
from orchestrator.report.panels import Panel, Standing, panels

if TYPE_CHECKING:
    from orchestrator.matrix import Matrix

COST = "bits_per_second"
NAMED = 6
"""Where a panel has more points, only the best of each kind of features is named."""


def has_material(matrix: Matrix) -> bool:
    """Whether some task has scores at two bitrates."""
    return any(len({place.cost(COST) for place in _places(panel)}) > 1 for panel in panels(matrix))


def describe(matrix: Matrix) -> str:
    """The bitrates of the best of each kind in each task."""
    said = {}
    for panel in panels(matrix):
        best = [_best(panel, kind) for kind in drawing.KINDS]
        texts = [
            f"{place.label} {panel.column.text(place.entry.value)} at {scales.si(place.cost(COST))} bits/s"
            for place in best
            if place is not None
        ]
        if texts:
            said[f"{panel.column.title} ({panel.column.heading})"] = ", ".join(texts)
    return f"Score against bits per second of audio; the best of each kind: {drawing.listed(said)}."


@drawing.styled
def bitrate(matrix: Matrix) -> Figure:
    """Draws the score of every configuration over the bits that its features take per second of audio."""
    title = f"{matrix.space}: score against bitrate"
    found, more = drawing.limited([panel for panel in panels(matrix) if _places(panel)])
    if not found:
        return drawing.empty(title, "no cell with a known bitrate has a score yet")
    figure, axes = drawing.sheet(
        title,
        len(found),
        handles=drawing.kind_handles(place.kind for panel in found for place in _places(panel)),
        notes=(
            f"{drawing.spread_note(found)} Dashed: guessing.",
            "Bitrate: of continuous features bits · dimensions · frame rate as they are stored; of tokens their number "
            "after de-duplication and BPE times log2 of the vocabulary.",
            more,
        ),
    )
    bits = [place.cost(COST) for panel in found for place in _places(panel)]
    for panel, ax in zip(found, axes, strict=True):
        places = _places(panel)
        points = [(place.cost(COST), panel.shown(place.entry.value)) for place in places]
        bars = marks.bars(panel, places, points)
        scales.cost_axis(ax.xaxis, bits, "bits per second of audio")
        said = scales.floor_line(ax, panel, marks.heights(points, bars))
        marks.scatter(ax, panel, places, points)
        scales.score_axis(ax.yaxis, panel)
        scales.head(ax, panel, said)
        wanted = [i for i, place in enumerate(places) if len(places) <= NAMED or place is _best(panel, place.kind)]
        marks.annotate(ax, points, [places[i].short for i in wanted], wanted, bars)
    return figure


def _places(panel: Panel) -> list[Standing]:
    return [place for place in panel.speech if (place.cost(COST) or 0) > 0]


def _best(panel: Panel, kind: str) -> Standing | None:
    places = [place for place in _places(panel) if place.kind == kind]
    return max(places, key=lambda place: panel.column.better * place.entry.value, default=None)
