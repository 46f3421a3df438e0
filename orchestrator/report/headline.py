"""The headline: one sentence over all tasks."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from orchestrator.report import phrases
from orchestrator.report.contest import UNKNOWN, Contest
from orchestrator.report.places import KINDS, mean_cost

OUTCOMES = ("wins", "open", "best", "tie", "guess")
"""What can come out of a column, in the order in which it is told: the lead is more than chance explains; it is not; that is
not known; the best tie; nothing beats guessing."""


def headline(contests: Sequence[Contest], done: int, total: int) -> str:
    """Which kind of features is ahead on how many tasks, and where that can't be told.

    Args:
        done: cells that have a result, of `total`.
    """
    if not total:
        return "There are no cells."
    if not done:
        return f"No answer yet: none of {phrases.count(total, 'cell')} has a result."
    before = f"With {done:,} of {total:,} cells finished, " if done < total else ""
    contested = [one for one in contests if one.rivals and not one.is_constant]
    said = _outcomes(contested, contests, done < total) if contested else _unrivalled(contests)
    return phrases.sentence(before + said)


def _unrivalled(contests: Sequence[Contest]) -> str:
    kinds = list(dict.fromkeys(one.kind(place) for one in contests for place in one.ranked))
    if not kinds:
        return "no configuration that hears speech has a score yet"
    if len(kinds) == 1:
        return f"only {KINDS[kinds[0]]} have scores, so there is no other kind of features to compare them with"
    return "no task tells two kinds of features apart"


def _outcomes(contested: Sequence[Contest], contests: Sequence[Contest], is_growing: bool) -> str:
    groups: dict[tuple[str, str], list[Contest]] = {}
    for one in contested:
        groups.setdefault(_outcome(one), []).append(one)
    order = sorted(groups, key=lambda key: (OUTCOMES.index(key[0]), -len(groups[key])))
    noun = "task" if len({one.column.key[:2] for one in contests}) == len(contests) else "test set"
    total = phrases.count(len(contests), noun)
    parts: list[str] = []
    for how, kind in order:
        of = groups[how, kind]
        titles = phrases.listed([one.column.title for one in of])
        where = f"{len(of)} of {total}" if not parts and len(contests) > 1 else titles
        parts.append(_told(how, kind, of, titles, where))
    if left := len(contests) - len(contested):
        parts.append(f"on {left} there is nothing to compare{' yet' if is_growing else ''}")
    return "; ".join(parts)


def _outcome(one: Contest) -> tuple[str, str]:
    """One of `OUTCOMES`, and the kind of features that it is about."""
    if one.ranked[0] in one.guessed:
        return "guess", ""
    if len(one.winners) > 1:
        return "tie", ""
    sure = one.lead(one.ranked[0], next(iter(one.rivals.values()))).sure
    how = {True: "wins", False: "open", None: "best"}[sure]
    return how, "" if how == "open" else one.kind(one.ranked[0])


def _told(how: str, kind: str, of: list[Contest], titles: str, where: str) -> str:
    if how == "wins":
        return f"{KINDS[kind]} win {where}"
    if how == "best":
        return f"{KINDS[kind]} score best on {where}, but {_why(of)}"
    if how == "guess":
        return f"on {titles} nothing beats guessing"
    if how == "tie":
        return f"on {titles} the best configurations tie"
    if len(of) > 1:
        return f"on {titles} the test sets can't tell the best of the kinds apart{_bits(of)}"
    ahead, behind = of[0].ranked[0], next(iter(of[0].rivals.values()))
    gap = phrases.points(of[0].column, of[0].lead(ahead, behind).gap)
    near = f"{of[0].name(behind)} come within {gap} of {of[0].name(ahead)}"
    return f"on {titles} {near}, which may be chance{_bits(of)}"


def _why(of: Iterable[Contest]) -> str:
    reasons = {one.lead(one.ranked[0], next(iter(one.rivals.values()))).reason for one in of}
    return UNKNOWN if reasons == {UNKNOWN} else "the best of each kind were not compared with each other"


def _bits(of: Iterable[Contest]) -> str:
    """`, at 0.3 % of the bits`: the best discrete tokens against the best continuous features, where they are fewer."""
    shares = []
    for pair in (one.arms for one in of):
        bits = [mean_cost([place], "bits_per_second") for place in pair] if pair else []
        if not all(bits) or not bits:
            return ""
        shares.append(bits[0] / bits[1])
    typical = statistics.geometric_mean(shares)
    return f"; discrete tokens there take {phrases.share(typical)} of the bits" if max(shares) < 1 else ""
