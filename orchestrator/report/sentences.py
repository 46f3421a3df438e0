"""Sentences: what is said of one column of the matrix."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.report import phrases, references
from orchestrator.report.contest import Contest, by_budget
from orchestrator.report.places import Place

NAMED = 3
"""How many configurations a sentence names before it counts the rest."""
COSTS = {"FLOPs": "computation (FLOPs)", "time": "training time"}
"""The training costs that are told, by their names in ratios.py."""
MATCHED = {"discrete": "discrete", "centroids": "centroid"}
"""Kinds of features that are compared with continuous ones, as an adjective."""
UNFINISHED = {"failed": "failed", "stale": "are out of date", "seeds": "lack some of their seeds"}


def about(one: Contest) -> str:
    """Who is ahead in a column, by how much, how sure that is, and what to keep in mind."""
    parts = [*_result(one)]
    if one.ranked and not one.is_constant:
        parts += [_guessing(one), *_matched(one), _training(one), _published(one)]
    parts += [_elsewhere(one), _waiting(one)]
    return " ".join(phrases.sentence(part) for part in parts if part)


def _result(one: Contest) -> list[str]:
    if not one.ranked:
        return ["no configuration that hears speech has a score yet"]
    best, column = one.ranked[0], one.column
    value = best.entry.value or 0.0
    score = phrases.named_score(column, value) + phrases.about(column, best)
    if one.is_constant:
        same = ", which is what guessing gets" if best in one.guessed else ""
        who = f"all {len(one.ranked)}" if len(one.ranked) > 2 else "both"
        return [f"{who} configurations score {score}{same}: this test does not tell them apart"]
    if best in one.guessed:
        guess = phrases.score(column, one.floor or 0.0)
        return [f"nothing beats guessing, which gets {guess}: the best, {one.name(best)}, score {score}"]
    if len(one.ranked) == 1:
        return [f"only {one.name(best)} have a score: {score}"]
    verb = "win with" if one.outcome[0] == "wins" else "score best, with"
    first = f"{one.name(best)} {verb} {score}"
    if len(one.winners) > 1:
        first = f"{phrases.listed([one.name(place) for place in one.winners])} tie at {score}"
    return [first, *(_behind(one, best, rival) for rival in one.rivals.values()), _next(one)]


def _behind(one: Contest, best: Place, rival: Place) -> str:
    """How far the best of another kind is behind, and whether that means anything."""
    alone = sum(one.kind(place) == one.kind(rival) for place in one.ranked) == 1
    return _distance(one, best, rival, one.name(rival) if alone else f"the best {one.name(rival)}")


def _next(one: Contest) -> str:
    """The next of the same kind, where there is no other kind."""
    others = one.ranked[len(one.winners) :]
    if one.rivals or not others:
        return ""
    return _distance(one, one.ranked[0], others[0], f"next, {one.name(others[0])}")


def _distance(one: Contest, ahead: Place, behind: Place, name: str) -> str:
    lead = one.lead(ahead, behind)
    score = phrases.score(one.column, behind.entry.value or 0.0)
    seeds = f" on average over {len(scored)} seeds" if len(scored := behind.results(one.column.test_set)) > 1 else ""
    return (
        f"{name} reach {score}{seeds}, {phrases.points(one.column, lead.gap)} behind{phrases.certain(one.column, lead)}"
    )


def _guessing(one: Contest) -> str:
    if one.floor is None or one.ranked[0] in one.guessed:
        return ""
    guess = f"guessing gets {phrases.score(one.column, one.floor)}"
    return f"{guess}, and {some(one, one.guessed)} do no better" if one.guessed else guess


def _matched(one: Contest) -> list[str]:
    """How the configurations of each kind compare with continuous features where nothing else differs."""
    said = []
    for kind, word in MATCHED.items():
        pairs = [sure for place in one.matched(kind) if (sure := place.entry.certainty) is not None]
        if len(pairs) > 1:
            gaps = [one.column.better * (pair.difference or 0.0) for pair in pairs if pair.differs]
            several = sum(one.kind(place) == "continuous" for place in one.ranked) > 1
            against = (
                f"against {'the ' if several else ''}continuous features{' that are otherwise the same' * several}"
            )
            said.append(f"{against}, {_counted(gaps, len(pairs), f'{word} configurations')}")
    return said


def _counted(gaps: Sequence[float], total: int, noun: str) -> str:
    """How many of `total` are worse and better, by the gaps that are more than chance, and how many can't be told apart."""
    if not gaps:
        return f"none of {total} {noun} can be told apart"
    counts = {"worse": sum(gap < 0 for gap in gaps), "better": sum(gap > 0 for gap in gaps)}
    parts = [f"{number} {'is' if number == 1 else 'are'} {word}" for word, number in counts.items() if number]
    parts[-1] += " by more than chance explains"
    if total in counts.values():
        whole = "both" if total == 2 else f"all {total}"
        return parts[0].replace(str(total), f"{whole} {noun}", 1)
    first = parts[0].split(" ", 1)
    left = [f"{total - len(gaps)} can't be told apart"] if len(gaps) < total else []
    return phrases.listed([f"{first[0]} of {total} {noun} {first[1]}", *parts[1:], *left])


def _training(one: Contest) -> str:
    """What training to convergence took in one arm of what it took in the other, where both have converged."""
    if one.arms is None:
        return ""
    discrete, continuous = one.arms
    late = [place for place in one.arms if by_budget(place)]
    if len(late) == 1:
        return f"training of {one.name(late[0])} was cut off by its budget, so they might still gain"
    shares = one.shares(discrete, continuous)
    said = [phrases.times(shares[cost], f"the {word}") for cost, word in COSTS.items() if cost in shares]
    if not said:
        return ""
    counts = {(cell["cost"] or {}).get("trials_at_once") for place in one.arms for cell in place.finished} - {None, 1}
    shared = (
        f" ({phrases.listed([str(n) for n in sorted(counts)], 'or')} trainings shared the machine)" if counts else ""
    )
    return f"to converge, {one.name(discrete)} took {phrases.listed(said)} of {one.name(continuous)}{shared}"


def _published(one: Contest) -> str:
    same, pairs = references.in_order([place.entry for place in one.ranked])
    return f"{same} of {phrases.count(pairs, 'pair')} of rows stand in the published order" if pairs else ""


def _elsewhere(one: Contest) -> str:
    if not one.elsewhere:
        return ""
    scores = phrases.listed([phrases.score(one.column, place.entry.value or 0.0) for place in one.elsewhere[:NAMED]])
    why = "their test set is another one (utterances, speakers or references), so these scores can't be compared"
    return f"{some(one, one.elsewhere)} ({scores}) are not ranked: {why}"


def _waiting(one: Contest) -> str:
    if not one.waiting or not one.ranked:
        return ""
    by_status: dict[str, list[Place]] = {}
    for place in one.waiting:
        by_status.setdefault("seeds" if place.entry.value is not None else place.entry.status, []).append(place)
    parts = [f"{some(one, of)} {UNFINISHED.get(status, 'are missing')}" for status, of in by_status.items()]
    return f"this is provisional: {phrases.listed(parts)}"


def some(one: Contest, of: Sequence[Place]) -> str:
    """The names of a few configurations, and how many more there are."""
    named = [one.name(place) for place in of[:NAMED]]
    return phrases.listed([*named, f"{len(of) - NAMED} more"] if len(of) > NAMED else named)
