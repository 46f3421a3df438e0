"""The best configurations as text and as JSON: what `tokengrid best` prints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.report.costs import COSTS, SCALES
from orchestrator.report.layout import ROW
from orchestrator.report.panels import words
from orchestrator.report.tables import wrap
from orchestrator.report.words import HEADINGS, NONE, OF_HUNDRED, short
from tasks.metrics import direction

if TYPE_CHECKING:
    from rich.console import Group

    from orchestrator.best import Candidate, Choice

SHOWN = ("train_seconds", "tokens_per_second_of_audio", "bits_per_second", "first_token_seconds")
"""Costs that are shown, beside those that the budget limits."""
ALWAYS = ("features", "encoder", "layer", "codebook", "bpe", "init")
"""Coordinates by which a configuration is always named."""
MOST = 5
"""Runners-up that are shown."""


def terminal(choices: Sequence[Choice], budget: Mapping[str, float], store: str = "") -> Group:
    """A block for each task, variant and corpus: the winner, what it scores and costs, and who comes next.

    Args:
        store: the option of a command that names the store.
    """
    from rich.console import Group
    from rich.text import Text

    parts: list[object] = []
    for choice in choices:
        parts += [_table(choice, budget), *(Text(line) for line in _said(choice, budget, store)), Text()]
    return Group(*parts[:-1])


def to_json(choices: Sequence[Choice], budget: Mapping[str, float]) -> str:
    """`{"budget": …, "choices": [{task, variant, corpus, primary, best, within: […], beyond: […]}]}`."""
    body = {"budget": dict(budget), "choices": [_plain(choice) for choice in choices]}
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"


def _plain(choice: Choice) -> dict[str, Any]:
    within, beyond = ([_candidate(c) for c in found] for found in (choice.within, choice.beyond))
    about = {**choice.question, "primary": choice.primary, "guessing": choice.floor, "unfinished": choice.unfinished}
    return about | {"best": within[0], "within": within, "beyond": beyond}


def _candidate(candidate: Candidate) -> dict[str, Any]:
    intervals = {name: sure.interval if sure else None for name, sure in candidate.certainties.items()}
    return {
        "cells": [cell["cell"] for cell in candidate.cells],
        "coordinates": dict(candidate.coordinates),
        "dev": candidate.dev,
        "test": {name: {"value": v, "interval": intervals[name]} for name, v in candidate.tests.items()},
        "cost": dict(candidate.cost),
    }


def _table(choice: Choice, budget: Mapping[str, float]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = [*choice.within[: MOST + 1], *choice.beyond[:MOST]]
    told = _telling([candidate.coordinates for candidate in (*choice.within, *choice.beyond)])
    costs = [name for name in dict.fromkeys((*budget, *SHOWN)) if any(name in c.cost for c in shown)]
    metric = HEADINGS.get(choice.primary, choice.primary) + ("" if choice.primary in OF_HUNDRED else " %")
    arrow = "↑" if direction(choice.primary) > 0 else "↓"
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title=choice.title, title_justify="left")
    table.add_column("configuration", overflow="fold")
    for name in ("dev", *choice.winner.tests):
        table.add_column(f"{name}\n{metric} {arrow}", justify="right", no_wrap=True)
    for name in costs:
        heading = COSTS.get(name, name.replace("_", " "))
        table.add_column("\n".join(wrap(heading, 9)), justify="right", no_wrap=True)
    for candidate in shown:
        style = "bold green" if candidate is choice.winner else "dim" if candidate in choice.beyond else ""
        over = candidate.excess(budget)
        scores = [_score(choice, candidate.dev)]
        scores += [_with_interval(choice, candidate, name) for name in choice.winner.tests]
        paid = [_cost(name, candidate.cost.get(name)) + (" !" if name in over else "") for name in costs]
        table.add_row(*(Text(text, style=style) for text in (words(candidate.coordinates, told), *scores, *paid)))
    return table


def _said(choice: Choice, budget: Mapping[str, float], store: str) -> list[str]:
    limits = " and ".join(f"{name} ≤ {limit:g}" for name, limit in budget.items())
    said = [f"chosen on dev{f' among those with {limits}' if limits else ''}; the test score played no part"]
    winner = choice.winner
    if choice.beyond:
        said.append(f"! beyond the budget ({len(choice.beyond)})")
    if choice.unfinished:
        count = "1 configuration is" if choice.unfinished == 1 else f"{choice.unfinished} configurations are"
        said.append(f"{count} not finished, and could still be better")
    if len(winner.cells) < winner.of:
        said.append(f"mean over {len(winner.cells)} of {winner.of} seeds and folds: the others are not finished")
    elif winner.of > 1:
        said.append(f"mean over {winner.of} seeds and folds")
    if winner.compared < len(winner.cells):
        said.append(f"dev: over the {winner.compared} that every configuration has finished, so that like is compared")
    first = next(iter(winner.tests.values()), None)
    better = direction(choice.primary)
    if first is not None and choice.floor is not None and better * first <= better * choice.floor:
        said.append("it is no better than guessing on the test set: nothing was learned from speech")
    for name, sure in winner.certainties.items():
        if sure is not None and sure.p is not None:
            differs = "differs from" if sure.differs else "is not told apart from"
            said.append(f"on {name} it {differs} its baseline ({sure.baseline}): p = {sure.p:.2g} (Holm)")
    return [*said, f"take it along: tokengrid export {winner.cells[0]['cell']} FOLDER{store}"]


def _telling(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the coordinates that tell configurations apart, and of those that say what one is anyway."""
    values = {name: {json.dumps(row[name]) for row in rows} - {"null"} for name in ROW}
    return [name for name in ROW if name in ALWAYS or len(values[name]) > 1]


def _score(choice: Choice, value: float) -> str:
    return f"{value * (1 if choice.primary in OF_HUNDRED else 100):.1f}"


def _with_interval(choice: Choice, candidate: Candidate, test: str) -> str:
    if test not in candidate.tests:
        return NONE
    sure = candidate.certainties[test]
    text = _score(choice, candidate.tests[test])
    if sure is None or sure.interval is None:
        return text
    return f"{text} [{', '.join(_score(choice, value) for value in sure.interval)}]"


def _cost(name: str, value: float | None) -> str:
    return NONE if value is None else short(SCALES.get(name, 1) * value)
