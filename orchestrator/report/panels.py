"""Panels: the columns of the matrix as every figure draws them, so that none disagrees with the table."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.report.places import places
from orchestrator.report.words import BUDGET, OF_HUNDRED, is_number, show

if TYPE_CHECKING:
    from orchestrator.matrix import Matrix
    from orchestrator.report.layout import Column, Entry

Cell = Mapping[str, Any]
SPEECH = ("continuous", "centroids", "discrete")
"""Kinds of features that hear speech, in the order in which they are named."""


@dataclass(frozen=True, eq=False)
class Standing:
    """A feature configuration on one test set.

    Attributes:
        row: its number in the layout.
        coordinates: of the row.
        told: the names of the coordinates that tell rows apart.
        entry: what the matrix shows there.
        cells: the finished records, one a seed.
        values: their scores, in the unit of the records.
    """

    row: int
    coordinates: Mapping[str, Any]
    told: tuple[str, ...]
    entry: Entry
    cells: tuple[Cell, ...] = ()
    values: tuple[float, ...] = ()

    @property
    def kind(self) -> str:
        """Its kind of features: continuous, discrete, centroids or none."""
        return self.coordinates["features"]

    @property
    def label(self) -> str:
        """What tells the configuration apart, such as `discrete k200 bpe400`."""
        return words(self.coordinates, self.told)

    @property
    def short(self) -> str:
        """The same without its kind of features where there is more to say: `k200 bpe400`."""
        return self.without("features") or self.kind

    def without(self, name: str) -> str:
        """The label without one coordinate."""
        return words(self.coordinates, [other for other in self.told if other != name])

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the score; None where nothing was resampled."""
        return self.entry.certainty.interval if self.entry.certainty else None

    @property
    def converged(self) -> bool:
        """Whether training reached its plateau, with every seed."""
        return BUDGET not in self.entry.marks

    def cost(self, name: str) -> float | None:
        """The mean of a cost over the seeds; None where it isn't known."""
        known = [cell["cost"][name] for cell in self.cells if is_number((cell["cost"] or {}).get(name))]
        return statistics.fmean(known) if known else None


@dataclass(frozen=True, eq=False)
class Panel:
    """A column of the matrix: a task metric on one test set, and all that stands in it.

    Attributes:
        floor: the score of guessing, in the unit of the records; None where it isn't known.
        places: one for each row of the layout but the trivial baseline, finished or not.
    """

    column: Column
    floor: float | None
    places: tuple[Standing, ...]

    @property
    def scored(self) -> list[Standing]:
        """The places that have a score."""
        return [place for place in self.places if place.entry.value is not None]

    @property
    def speech(self) -> list[Standing]:
        """The places that have a score and hear speech."""
        return [place for place in self.scored if place.kind != "none"]

    def shown(self, value: float) -> float:
        """A score in the unit of the column's heading."""
        return value if self.column.metric in OF_HUNDRED else 100 * value

    def best(self, *kinds: str) -> Standing | None:
        """The best place of some kinds of features; None where none has a score."""
        found = [place for place in self.scored if place.kind in kinds]
        return max(found, key=lambda place: self.column.better * place.entry.value, default=None)


def panels(matrix: Matrix, first_only: bool = False) -> list[Panel]:
    """The columns of the matrix with their places.

    Args:
        first_only: of several test sets of a task only the first, for what does not depend on the test set.
    """
    layout = matrix.layout
    standing = places(layout, matrix.cells)
    rows = [(r, row) for r, row in enumerate(layout.rows) if row.kind != "baseline"]
    told = tuple(layout.labels)
    found = []
    for c, column in enumerate(layout.columns):
        if first_only and not column.first:
            continue
        of = []
        for r, row in rows:
            cells = sorted(standing[r][c].finished, key=lambda cell: cell["seed"])
            values = tuple(value for cell in cells if (value := _score(cell, column)) is not None)
            of.append(Standing(r, row.coordinates, told, layout.entries[r][c], tuple(cells), values))
        found.append(Panel(column, layout.floors[c], tuple(of)))
    return found


def words(coordinates: Mapping[str, Any], names: Sequence[str]) -> str:
    """Some coordinates in words, those that apply: `discrete k200 bpe400`."""
    return " ".join(word for name in names if (word := _word(name, coordinates)))


def selected(found: Sequence[Panel], limit: int) -> tuple[list[int], str]:
    """At most `limit` rows that hear speech, in the order of the layout, and a sentence about what is left out.

    The best of every kind of features in each panel comes first, then in turn the best on average of every kind.
    """
    ranks: dict[str, dict[int, list[float]]] = {kind: {} for kind in SPEECH}
    for panel in found:
        order = sorted(panel.speech, key=lambda place: -panel.column.better * place.entry.value)
        for rank, place in enumerate(order):
            ranks[place.kind].setdefault(place.row, []).append(rank / len(order))
    wanted = dict.fromkeys(best.row for kind in SPEECH for panel in found if (best := panel.best(kind)) is not None)
    queues = [sorted(of, key=lambda row, of=of: (statistics.fmean(of[row]), row)) for of in ranks.values()]
    wanted |= dict.fromkeys(row for turn in itertools.zip_longest(*queues) for row in turn if row is not None)
    rows = sorted(list(wanted)[:limit])
    if len(wanted) <= limit:
        return rows, ""
    return rows, (
        f"{len(rows)} of {len(wanted)} configurations are shown: of every kind of features the best in each task, "
        "then the best on average. The table has all."
    )


def _word(name: str, coordinates: Mapping[str, Any]) -> str:
    value, kind = coordinates[name], coordinates["features"]
    if name == "dedup":
        odd = (kind == "discrete" and value is False) or (kind == "centroids" and value is True)
        return ("without repeats" if value else "with repeats") if odd else ""
    if value is None:
        return ""
    short = {"codebook": f"k{value}", "bpe": f"bpe{value}", "layer": f"layer {show(value)}", "init": f"after {value}"}
    if name in ("features", "encoder", "decoder", "recipe"):
        return str(value)
    return short.get(name) or f"{name.replace('_', ' ')} {show(value)}"


def _score(cell: Cell, column: Column) -> float | None:
    for result in cell["results"] or ():
        value = result["metrics"].get(column.metric)
        if result["test_set"] == column.test_set and is_number(value):
            return value
    return None
