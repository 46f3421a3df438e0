"""A contest: who scores best in a column of the matrix, by how much over the best of the other kinds, and how sure that is."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.report.intervals import ALPHA
from orchestrator.report.layout import Column, Layout
from orchestrator.report.places import Place, name
from orchestrator.report.ratios import PARTS
from orchestrator.report.words import BUDGET, GUESSING, is_number
from orchestrator.statistics.answers import DIFFERENT

OUTCOMES = ("wins", "open", "best", "tie", "same", "guess")
"""What can come out of a column: the best is ahead of every other kind of features more than chance explains; of one of
them it may be chance; that is not known; several are best; all score the same; nothing beats guessing."""

ARMS = {"continuous", "discrete"}
"""The kinds of features that the question is about."""

UNKNOWN = "how sure that is was not computed"
APART = "they were not compared with each other"
REVERSED = "over the seeds that both have it is the other way round"


@dataclass(frozen=True)
class Lead:
    """How far one place is ahead of another, in the unit of the records; positive is better, whichever way the metric points.

    Attributes:
        interval: 95 %, where the two were compared.
        p: corrected by Holm, likewise.
        reason: why there is neither.
    """

    gap: float
    interval: tuple[float, float] | None = None
    p: float | None = None
    reason: str = ""

    @property
    def sure(self) -> bool | None:
        """Whether chance doesn't explain it; None where that isn't known."""
        return None if self.p is None else self.p < ALPHA


@dataclass(frozen=True)
class Contest:
    """One column.

    Attributes:
        column: of the layout.
        ranked: the configurations with speech that have a score on the same test set, the best first.
        elsewhere: those whose score is of other utterances.
        waiting: those with speech that have a cell without a result.
        floor: the score of guessing, None where unknown.
        kinds: row → kind of features.
        names: row → what its configuration is called in a sentence.
    """

    column: Column
    ranked: tuple[Place, ...]
    elsewhere: tuple[Place, ...]
    waiting: tuple[Place, ...]
    floor: float | None
    kinds: Mapping[int, str]
    names: Mapping[int, str]

    @property
    def winners(self) -> tuple[Place, ...]:
        """The best; several where they tie."""
        return tuple(place for place in self.ranked if place.entry.value == self.ranked[0].entry.value)

    @property
    def rivals(self) -> dict[str, Place]:
        """The best of every kind of features that no winner is of: the two arms before the control between them."""
        best = {kind: place for kind, place in self._best.items() if kind not in {self.kind(w) for w in self.winners}}
        return {kind: best[kind] for kind in sorted(best, key=lambda kind: kind not in ARMS)}

    @property
    def kinds_ranked(self) -> list[str]:
        """The kinds of features that have a score, that of the best first."""
        return list(self._best)

    @property
    def _best(self) -> dict[str, Place]:
        best: dict[str, Place] = {}
        for place in self.ranked:
            best.setdefault(self.kind(place), place)
        return best

    @property
    def outcome(self) -> tuple[str, Place | None]:
        """One of `OUTCOMES`, and the best of another kind that it hangs on."""
        if self.ranked[0] in self.guessed:
            return "guess", None
        if self.is_constant:
            return "same", None
        if len({self.kind(place) for place in self.winners}) > 1:
            return "tie", None
        leads = [(self.lead(self.ranked[0], rival).sure, rival) for rival in self.rivals.values()]
        for sure, how in ((False, "open"), (None, "best"), (True, "wins")):
            if found := [rival for one, rival in leads if one is sure]:
                return how, found[0]
        return "best", None

    @property
    def is_constant(self) -> bool:
        """Whether several configurations all score the same."""
        return len(self.ranked) > 1 and len(self.winners) == len(self.ranked)

    @property
    def guessed(self) -> list[Place]:
        """The configurations that are no better than guessing."""
        return [place for place in self.ranked if GUESSING in place.entry.marks]

    def kind(self, place: Place) -> str:
        """Of the features of a place."""
        return self.kinds[place.row]

    def name(self, place: Place) -> str:
        """What the configuration of a place is called."""
        return self.names[place.row]

    @property
    def arms(self) -> tuple[Place, Place] | None:
        """The best discrete and the best continuous configuration, where there are both."""
        best = self._best
        return (best["discrete"], best["continuous"]) if set(best) >= ARMS else None

    def lead(self, ahead: Place, behind: Place) -> Lead:
        """How far a place is ahead of another, with what is known of the certainty."""
        column = self.column
        assert ahead.entry.value is not None and behind.entry.value is not None
        gap = column.better * (ahead.entry.value - behind.entry.value)
        reasons = []
        for of, against, sign in ((behind, ahead, -column.better), (ahead, behind, column.better)):
            about = _about(of, column)
            if about is None or "comparison" not in about:
                return Lead(gap, reason=UNKNOWN)
            if found := about["comparison"]:
                if _names(found["against"]) <= {cell["cell"] for cell in against.cells}:
                    compared = sign * found["difference"][column.metric]
                    if compared < 0 < gap:  # the comparison is of the seeds that both have
                        return Lead(gap, reason=REVERSED)
                    low, high = sorted(sign * end for end in found["interval"][column.metric])
                    return Lead(compared, (low, high), found["p_holm"][column.metric])
            elif about["uncompared"]:
                reasons.append(about["uncompared"])
        return Lead(gap, reason=f"{APART}: {reasons[0]}" if reasons else APART)

    def matched(self, kind: str) -> list[Place]:
        """The configurations of a kind that were compared with the continuous one that is otherwise the same."""
        return [
            place
            for place in self.ranked
            if self.kind(place) == kind
            and (sure := place.entry.certainty) is not None
            and sure.p is not None
            and sure.baseline == "features=continuous"
        ]

    def shares(self, place: Place, other: Place) -> dict[str, float]:
        """Training costs of a place to its best point as shares of the other's: geometric means over seeds.

        By what is counted (time, epochs, tokens, FLOPs); only of seeds that have reached their plateau in both.
        """
        by_seed = {cell["seed"]: cell for cell in other.finished if cell["stopped"] == "plateau"}
        pairs = [(c, by_seed[c["seed"]]) for c in place.finished if c["stopped"] == "plateau" and c["seed"] in by_seed]
        found = {}
        for cost, word in PARTS.items():
            known = [((one["cost"] or {}).get(cost), (two["cost"] or {}).get(cost)) for one, two in pairs]
            ratios = [a / b for a, b in known if is_number(a) and is_number(b) and a > 0 and b > 0]
            if ratios:
                found[word] = statistics.geometric_mean(ratios)
        return found


def contests(layout: Layout, lines: Sequence[Sequence[Place]]) -> list[Contest]:
    """The contest of every column; `lines` are the places of the layout."""
    own = {r: row for r, row in enumerate(layout.rows) if row.kind != "baseline"}
    kinds = {r: row.coordinates["features"] for r, row in own.items()}
    names = {r: name(layout, row) for r, row in own.items()}
    found = []
    for c, column in enumerate(layout.columns):
        speech = [lines[r][c] for r, row in own.items() if row.kind == "speech"]
        scored = [place for place in speech if place.entry.value is not None]
        alike = _same_test(scored, column)
        rows = {place.row for place in alike}
        ranked = sorted(alike, key=lambda place: -column.better * place.entry.value)
        elsewhere = tuple(place for place in scored if place.row not in rows)
        waiting = tuple(place for place in speech if place.cells and not _is_whole(place))
        found.append(Contest(column, tuple(ranked), elsewhere, waiting, layout.floors[c], kinds, names))
    return found


def _is_whole(place: Place) -> bool:
    """Whether all cells of a place have a result, and a score that is a number."""
    return place.entry.value is not None and len(place.finished) == len(place.cells)


def by_budget(place: Place) -> bool:
    """Whether the training of a place was stopped by its budget, for any seed."""
    return BUDGET in place.entry.marks


def _same_test(scored: Sequence[Place], column: Column) -> list[Place]:
    """Those that answered the same test set as most; of as many the larger set."""
    sizes = {place.row: {result["n"] for result in place.results(column.test_set)} for place in scored}
    counted = Counter(n for found in sizes.values() for n in found)
    most = max(counted, key=lambda n: (counted[n], n or 0), default=None)
    same = [place for place in scored if sizes[place.row] == {most}]
    return [place for place in same if (_about(place, column) or {}).get("uncompared") != DIFFERENT]


def _about(place: Place, column: Column) -> Mapping[str, Any] | None:
    """Where the certainty of a place stands: in its result, or with several seeds in what is said of them together."""
    results = place.results(column.test_set)
    if not results:
        return None
    return results[0] if len(results) == 1 else results[0].get("seeds")


def _names(against: str | Sequence[str]) -> set[str]:
    return {against} if isinstance(against, str) else set(against)
