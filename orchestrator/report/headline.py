"""The headline: one sentence over all tasks."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from orchestrator.report import phrases
from orchestrator.report.contest import OUTCOMES, REVERSED, UNKNOWN, Contest
from orchestrator.report.places import KINDS, mean_cost

NAMED = 4
"""How many tasks are named before they are counted."""


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
    contested = [one for one in contests if len(one.kinds_ranked) > 1]
    said = _outcomes(contested, contests, done < total) if contested else _unrivalled(contests)
    return phrases.sentence(before + said)


def _unrivalled(contests: Sequence[Contest]) -> str:
    kinds = list(dict.fromkeys(kind for one in contests for kind in one.kinds_ranked))
    if not kinds:
        return "no configuration that hears speech has a score yet"
    if len(kinds) == 1:
        return f"only {KINDS[kinds[0]]} have scores, so there is no other kind of features to compare them with"
    return "no task has scores of two kinds of features"


def _outcomes(contested: Sequence[Contest], contests: Sequence[Contest], is_growing: bool) -> str:
    """What came out where; the kind of features that wins most comes first."""
    groups: dict[tuple[str, str], list[Contest]] = {}
    for one in contested:
        how, _ = one.outcome
        groups.setdefault((how, one.kinds_ranked[0] if how in ("wins", "best") else ""), []).append(one)
    noun = "task" if len({one.column.key[:2] for one in contests}) == len(contests) else "test set"
    parts: list[str] = []
    for how, kind in sorted(groups, key=lambda key: (OUTCOMES.index(key[0]), -len(groups[key]))):
        of = groups[how, kind]
        titles = phrases.listed([one.column.title for one in of])
        titles = titles if len(of) <= NAMED else phrases.count(len(of), noun)
        whole = f"{len(of)} of {phrases.count(len(contests), noun)}"
        parts.append(_told(how, kind, of, whole if not parts and len(contests) > 1 else titles))
    if left := len(contests) - len(contested):
        parts.append(f"on {left} there is nothing to compare{' yet' if is_growing else ''}")
    return "; ".join(parts)


def _told(how: str, kind: str, of: list[Contest], where: str) -> str:
    if how == "wins":
        return f"{KINDS[kind]} win on {where}" + (f", at {_bits(of)}" if kind == "discrete" and _bits(of) else "")
    if how == "best":
        return f"{KINDS[kind]} score best on {where}, but {_why(of)}"
    if how == "guess":
        return f"on {where} nothing beats guessing"
    if how == "tie":
        return f"on {where} the best configurations tie"
    if how == "same":
        return f"on {where} all configurations score the same"
    if len(of) > 1:
        return f"on {where} the test sets can't tell the best of the kinds apart"
    (one,) = of
    _, behind = one.outcome
    assert behind is not None
    gap = phrases.points(one.column, one.lead(one.ranked[0], behind).gap)
    bits = f", at {_bits(of)}," if one.kind(behind) == "discrete" and _bits(of) else ""
    return f"on {where} {one.name(behind)}{bits} come within {gap} of {one.name(one.ranked[0])}, which may be chance"


def _why(of: Iterable[Contest]) -> str:
    reasons = {one.lead(one.ranked[0], rival).reason for one in of if (rival := one.outcome[1]) is not None}
    alike = reasons & {UNKNOWN, REVERSED} if len(reasons) == 1 else ()
    return next(iter(alike), "the best of each kind were not compared with each other")


def _bits(of: Iterable[Contest]) -> str:
    """`0.3 % of the bits`: the best discrete tokens against the best continuous features, where they are fewer."""
    shares = []
    for pair in (one.arms for one in of):
        bits = [mean_cost([place], "bits_per_second") for place in pair] if pair else []
        if not all(bits) or not bits:
            return ""
        shares.append(bits[0] / bits[1])
    typical = statistics.geometric_mean(shares)
    return f"{phrases.share(typical)} of the bits" if max(shares) < 1 else ""
