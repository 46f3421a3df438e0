"""Judging: interval and comparison of every test result in the records of a space.

Each test result gets
- `interval`: {metric: [low, high]}, null where there is none; `resampled`: what was drawn, `speaker` or `utterance`;
  `groups`: how many there are;
- `comparison`: {"against": cell, "baseline": "features=continuous", "difference": {metric: value}, "interval": {metric:
  [low, high]}, "p": {metric: value}, "p_holm": {metric: value}}, or null; `uncompared`: why it is null, itself null for a
  baseline;
- `seeds`, where several seeds of a place are finished: {"cells": […], "mean": {metric: value}, "deviation": {metric:
  value}, "interval", "comparison", "uncompared"}: the same of the mean over them, against the mean over the seeds of
  the baseline. Where only some of the seeds have their baseline yet, the comparison is of those (of all, where it is but
  one: a single pair would know nothing of how much seeds differ).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.stage import Progress, silent
from orchestrator.statistics.answers import RESAMPLES, Answer, Question, Read, answered
from orchestrator.statistics.baselines import DEFAULT, TEST, Baselines, Record, place_of
from orchestrator.statistics.estimates import holm

Corrected = Mapping[tuple[Question, str], Mapping[str, float]]
"""(question, test set) → metric → corrected p-value."""


@dataclass(frozen=True)
class _Arm:
    """A cell, or the seeds of a place together.

    Attributes:
        cells: all of them.
        asked: what is compared with what.
        reason: why it is compared with nothing, where that needs saying.
    """

    cells: tuple[str, ...]
    asked: Question
    reason: str | None

    @property
    def alone(self) -> Question:
        return Question(self.cells)


def judged(
    records: Sequence[Record],
    read: Read,
    folder: Path,
    baseline: Mapping[str, str] = DEFAULT,
    progress: Progress = silent,
    resamples: int = RESAMPLES,
) -> list[dict[str, Any]]:
    """The records with what this module adds to their test results; those that are not finished as they are.

    Args:
        records: of one space, with the choice of learning rates.
        read: gives predictions; where it raises a UserError, that is told as the reason.
        folder: where answers are kept, by the identities of the scorings.
        baseline: coordinate → value as text.

    Raises:
        UserError: no cell has the baseline's value of a coordinate.
    """
    baselines = Baselines(records, baseline)
    finished = {record["cell"]: record for record in records if record["status"] == "ok"}
    cells = {cell: _cell(record, baselines) for cell, record in finished.items()}
    places = _places(finished, cells)
    arms = (*cells.values(), *places.values())
    questions = dict.fromkeys([*(arm.alone for arm in arms), *(arm.asked for arm in arms)])
    answers = answered(questions, finished, read, folder, progress, resamples)
    # Cells are a family, and so are places, seeds together: either is looked at for itself.
    of_cells = _corrected([arm.asked for arm in cells.values()], answers, finished)
    of_places = _corrected([arm.asked for arm in places.values()], answers, finished)
    told = []
    for record in records:
        if record["cell"] not in finished:
            told.append(dict(record))
            continue
        cell, place = cells[record["cell"]], places[record["cell"]]
        results = []
        for result in record["results"]:
            name = result["test_set"]
            answer = answers[cell.alone][name]
            more = {"resampled": answer["resampled"], "groups": answer["groups"]}
            more |= _judgement(cell, name, answers, of_cells, baselines.text)
            several = len(place.cells) > 1
            seeds = _spread(place, name, answers) | _judgement(place, name, answers, of_places, baselines.text)
            results.append({**result, **more, "seeds": seeds if several else None})
        told.append({**record, "results": results})
    return told


def _cell(record: Record, baselines: Baselines) -> _Arm:
    found = baselines.of(record)
    if found is None or isinstance(found, str):
        return _Arm((record["cell"],), Question((record["cell"],)), found)
    return _Arm((record["cell"],), Question((record["cell"],), (found["cell"],)), None)


def _places(finished: Mapping[str, Record], cells: Mapping[str, _Arm]) -> dict[str, _Arm]:
    """For every cell its place: with all of its seeds that are finished, and all of their baselines."""
    together: dict[str, list[str]] = {}
    for cell, record in finished.items():
        together.setdefault(place_of(record), []).append(cell)
    places = {}
    for members in together.values():
        seeds = tuple(sorted(members, key=lambda cell: finished[cell]["seed"]))
        paired = tuple(cell for cell in seeds if cells[cell].asked.against)
        against = tuple(dict.fromkeys(other for cell in paired for other in cells[cell].asked.against))
        reason = None if against else next((cells[cell].reason for cell in seeds if cells[cell].reason), None)
        asked = Question(paired if len(paired) > 1 else seeds, against)
        places |= dict.fromkeys(seeds, _Arm(seeds, asked, reason))
    return places


def _corrected(
    questions: Iterable[Question], answers: Mapping[Question, Answer], finished: Mapping[str, Record]
) -> Corrected:
    """p-values by Holm within one task × test set × metric, over all that is compared there."""
    families: dict[tuple[Any, ...], dict[tuple[Question, str], float]] = {}
    for question in dict.fromkeys(questions):
        about = [finished[question.of[0]][name] for name in TEST]
        for name, answer in answers[question].items() if question.against else ():
            for metric, (*_, p) in (answer["metrics"] or {}).items():
                families.setdefault((*about, name, metric), {})[question, name] = p
    corrected: dict[tuple[Question, str], dict[str, float]] = {}
    for (*_, metric), members in families.items():
        for key, p in zip(members, holm(list(members.values())), strict=True):
            corrected.setdefault(key, {})[metric] = p
    return corrected


def _judgement(
    arm: _Arm, name: str, answers: Mapping[Question, Answer], corrected: Corrected, baseline: str
) -> dict[str, Any]:
    """Interval and comparison of an arm on one test set."""
    alone = answers[arm.alone][name]
    answer = answers[arm.asked][name]
    found = answer["metrics"]
    if not arm.asked.against or found is None:
        reason = alone["reason"] or arm.reason or answer["reason"]
        return {"interval": _intervals(alone), "comparison": None, "uncompared": reason}
    against = arm.asked.against
    comparison = {
        "against": against[0] if len(arm.cells) == 1 else list(against),
        "baseline": baseline,
        "difference": {metric: value for metric, (value, *_) in found.items()},
        "interval": _intervals(answer),
        "p": {metric: p for metric, (*_, p) in found.items()},
        "p_holm": dict(corrected[arm.asked, name]),
    }
    return {"interval": _intervals(alone), "comparison": comparison, "uncompared": None}


def _intervals(answer: Mapping[str, Any]) -> dict[str, list[float]] | None:
    found = answer["metrics"]
    return None if found is None else {metric: [low, high] for metric, (_, low, high, _) in found.items()}


def _spread(place: _Arm, name: str, answers: Mapping[Question, Answer]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds of a place."""
    body: dict[str, Any] = {"cells": list(place.cells), "mean": None, "deviation": None}
    mean = answers[place.alone][name]["metrics"]
    if mean is None or len(place.cells) < 2:
        return body
    single = [answers[Question((cell,))][name]["metrics"] for cell in place.cells]
    body["mean"] = {metric: value for metric, (value, *_) in mean.items()}
    body["deviation"] = {metric: statistics.stdev(one[metric][0] for one in single) for metric in mean}
    return body
