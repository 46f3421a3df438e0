"""Best: of the finished configurations of a task, the one that is best on dev within a budget. Test plays no part in it."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.cell import Cell
from orchestrator.errors import UserError, suggest
from orchestrator.matrix import COST, Matrix
from orchestrator.report.intervals import Certainty, certainty
from orchestrator.report.words import is_number
from tasks.metrics import direction

Record = Mapping[str, Any]

ALIASES = {
    "seconds": "train_seconds",
    "bitrate": "bits_per_second",
    "latency": "first_token_seconds",
    "memory": "peak_memory_bytes",
}
"""Short names of costs in a budget."""
SIZES = (
    "parameters",
    "trained_parameters",
    "decoding_seconds",
    "answer_tokens",
    "tokens_to_best",
    "init_train_seconds",
)
"""Costs beside those of `COST` that a budget may limit."""
QUESTION = ("task", "variant", "corpus")
"""Each of these has a best configuration of its own."""
REPEATS = ("fold", "seed")
"""Over these a configuration is averaged."""


@dataclass(frozen=True)
class Candidate:
    """A configuration: the cells that differ in seed and fold alone.

    Attributes:
        cells: the finished ones; of: how many there are.
        compared: how many of the finished ones `dev` is the mean of: those whose fold and seed all candidates have.
        dev: mean of the primary metric on dev, in the unit of the records.
        tests: test set → mean of the primary metric.
        certainties: test set → what resampling says of it, where one fold was asked for it.
        cost: means of the costs; a cost that some cell lacks is left out.
    """

    coordinates: Mapping[str, Any]
    primary: str
    cells: tuple[Record, ...]
    of: int
    compared: int
    dev: float
    tests: Mapping[str, float]
    certainties: Mapping[str, Certainty | None]
    cost: Mapping[str, float]

    def excess(self, budget: Mapping[str, float]) -> dict[str, float | None]:
        """What breaks a budget: cost → its value, None where it was not measured."""
        found = {name: self.cost.get(name) for name in budget}
        return {name: value for name, value in found.items() if value is None or value > budget[name]}


@dataclass(frozen=True)
class Choice:
    """The answer for one task, variant and corpus.

    Attributes:
        within, beyond: candidates within the budget and beyond it, the best on dev first.
        unfinished: how many configurations have no finished cell with a score on dev.
        floor: the score of guessing on the first test set, where it is known.
    """

    question: Mapping[str, Any]
    primary: str
    within: Sequence[Candidate]
    beyond: Sequence[Candidate]
    unfinished: int
    floor: float | None

    @property
    def winner(self) -> Candidate:
        return self.within[0]

    @property
    def title(self) -> str:
        """Such as `translation de on covost2`."""
        return _title(self.question)


def _title(question: Mapping[str, Any]) -> str:
    task, variant, corpus = (question[name] for name in QUESTION)
    return " ".join(str(part) for part in (task, variant, "on", corpus) if part)


def parse_budget(given: Sequence[str]) -> dict[str, float]:
    """Reads `train_seconds=600`, `bitrate=500`, `latency=0.2` …

    Raises:
        UserError: names every entry that is no cost=number.
    """
    names = (*COST, *SIZES, *ALIASES)
    found: dict[str, float] = {}
    problems = []
    for entry in given:
        key, sign, text = (part.strip() for part in entry.partition("="))
        if key not in names:
            problems.append(f"'{entry}': cells have no cost '{key}'; {suggest(key, names)}")
            continue
        try:
            limit = float(text)
        except ValueError:
            limit = math.nan
        if not sign or not math.isfinite(limit) or limit < 0:
            problems.append(f"'{entry}': expected a number that is not negative after '{key}='")
            continue
        name = ALIASES.get(key, key)
        found[name] = min(limit, found.get(name, limit))
    if problems:
        raise UserError("--budget wants cost=most:\n" + "\n".join(f"  {problem}" for problem in problems))
    return found


def best(matrix: Matrix, task: str, budget: Mapping[str, float]) -> list[Choice]:
    """The choice for every variant and corpus of a task.

    Raises:
        UserError: the space has no such task, nothing of it is finished, or nothing fits the budget; says what is nearest.
    """
    tasks = dict.fromkeys(cell["task"] for cell in matrix.cells)
    if task not in tasks:
        raise UserError(f"{matrix.space} has no task '{task}'; {suggest(task, tasks)}")
    questions: dict[str, list[Record]] = {}
    for cell in matrix.cells:
        if cell["task"] == task:
            questions.setdefault(json.dumps([cell[name] for name in QUESTION]), []).append(cell)
    return [_choose(cells, budget) for cells in questions.values()]


def _choose(cells: Sequence[Record], budget: Mapping[str, float]) -> Choice:
    question = {name: cells[0][name] for name in QUESTION}
    grouped: dict[str, list[Record]] = {}
    for cell in cells:
        if cell["features"] != "none":
            key = [cell[name] for name in Cell.__dataclass_fields__ if name not in REPEATS]
            grouped.setdefault(json.dumps(key), []).append(cell)
    primary = cells[0]["primary"]
    title = _title(question)
    if not grouped:
        raise UserError(f"no configuration of {title} hears speech: there is nothing to choose from")
    scored = {key: [m for m in of if m["status"] == "ok" and is_number(_dev(m))] for key, of in grouped.items()}
    finished = {key: of for key, of in scored.items() if of}
    if not finished:
        raise UserError(f"no cell of {title} is finished yet with a score on dev: run the space first")
    # An easy fold or a lucky seed must not beat a rival of which more is known.
    shared = set.intersection(*({_repeat(m) for m in of} for of in finished.values()))
    known = [_candidate(of, len(grouped[key]), shared) for key, of in finished.items()]
    better = direction(primary)
    # Equals: the cheaper in bits, then in seconds of training; unmeasured costs last.
    known.sort(
        key=lambda c: (
            -better * c.dev,
            *(c.cost.get(name, math.inf) for name in ("bits_per_second", "train_seconds")),
        )
    )
    within = [candidate for candidate in known if not candidate.excess(budget)]
    beyond = [candidate for candidate in known if candidate.excess(budget)]
    choice = Choice(question, primary, within, beyond, len(grouped) - len(known), _floor(cells, better))
    if not within:
        raise UserError(_nothing_fits(choice, budget))
    return choice


def _dev(cell: Record) -> Any:
    return (cell["dev"] or {}).get(cell["primary"])


def _repeat(cell: Record) -> tuple[Any, ...]:
    return tuple(cell[name] for name in REPEATS)


def _candidate(done: Sequence[Record], of: int, shared: Collection[tuple[Any, ...]]) -> Candidate:
    """The candidate of some finished cells; on dev those count that are `shared` by all candidates, if any are."""
    primary = done[0]["primary"]
    compared = [m for m in done if _repeat(m) in shared] or done
    results: dict[str, list[Record]] = {}
    for member in done:
        for result in member["results"]:
            if is_number(result["metrics"].get(primary)):
                results.setdefault(result["test_set"], []).append(result)
    costs = [{k: v for k, v in (m["cost"] or {}).items() if is_number(v)} for m in done]
    shared = set.intersection(*(set(cost) for cost in costs))
    one_fold = len({m["fold"] for m in done}) == 1
    return Candidate(
        coordinates={k: v for k, v in done[0].items() if k in Cell.__dataclass_fields__ and k not in REPEATS},
        primary=primary,
        cells=tuple(done),
        of=of,
        compared=len(compared),
        dev=statistics.fmean(map(_dev, compared)),
        tests={name: statistics.fmean(r["metrics"][primary] for r in each) for name, each in results.items()},
        certainties={name: certainty(each, primary) if one_fold else None for name, each in results.items()},
        cost={name: statistics.fmean(cost[name] for cost in costs) for name in sorted(shared)},
    )


def _floor(cells: Sequence[Record], better: int) -> float | None:
    """What guessing scores on the first test set: the better of the trivial baseline and of `none`."""
    done = [cell for cell in cells if cell["status"] == "ok"]
    guesses = [cell["baseline"] for cell in done] + [
        cell["metrics"][cell["primary"]] for cell in done if cell["features"] == "none"
    ]
    known: list[float] = [value for value in guesses if is_number(value)]
    pick: Callable[..., float] = max if better > 0 else min
    return pick(known) if known else None


def _nothing_fits(choice: Choice, budget: Mapping[str, float]) -> str:
    lines = [f"no finished configuration of {choice.title} is within the budget:"]
    for name, limit in budget.items():
        known = [candidate for candidate in choice.beyond if name in candidate.cost]
        lacking = len(choice.beyond) - len(known)
        if known:
            least = min(candidate.cost[name] for candidate in known)
            lines.append(f"  {name} of at most {limit:g}: the least is {least:g}")
        if lacking:
            lines.append(f"  {name}: not measured for {lacking} of {len(choice.beyond)} configurations")
    return "\n".join(lines)
