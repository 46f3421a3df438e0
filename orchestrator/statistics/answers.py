"""Answers: what the predictions say about the questions of a space, computed once and kept beside the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import UserError
from orchestrator.stage import Progress, silent
from orchestrator.statistics.baselines import TEST, Record
from orchestrator.statistics.estimates import estimate
from orchestrator.statistics.predictions import Predictions
from orchestrator.statistics.resampling import Groups, resampled
from orchestrator.store import write_atomically
from tasks import TASKS
from tasks.metrics import bounds, counts

VERSION = 3
"""Raised whenever an estimate changes: what is kept is found by it."""
RESAMPLES = 10_000
DIFFERENT = "the test sets differ: their utterances, speakers or references are not the same"
TOO_SMALL = "a single utterance can't be resampled"

Read = Callable[[str, Sequence[str]], Mapping[str, Predictions]]
"""(id of a finished cell, names of test sets) → its predictions. It may raise UserError."""
Answer = Mapping[str, Mapping[str, Any]]
"""Test set → {"resampled", "groups", "metrics": {metric: [value, low, high, p]} or None, "reason": why None}."""


@dataclass(frozen=True)
class Question:
    """What is to be estimated: the mean over some cells, minus the mean over others where there are any.

    Attributes:
        of, against: ids of cells that differ in their seed alone.
    """

    of: tuple[str, ...]
    against: tuple[str, ...] = ()

    @property
    def cells(self) -> tuple[str, ...]:
        return self.of + self.against


@dataclass
class _Tests:
    """What some cells of one task on one corpus answered, as counts.

    Attributes:
        at: which test set, by its hash, a cell has under a name.
        groups: of a test set.
        counted: test set → cell → metric → counts `[N, C]`.
        unread: why a cell's predictions can't be read.
    """

    at: dict[tuple[str, str], str] = field(default_factory=dict)
    groups: dict[str, Groups] = field(default_factory=dict)
    counted: dict[str, dict[tuple[str, str], np.ndarray]] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


def answered(
    questions: Iterable[Question],
    finished: Mapping[str, Record],
    read: Read,
    folder: Path,
    progress: Progress = silent,
    resamples: int = RESAMPLES,
) -> dict[Question, Answer]:
    """Answers every question, from what is kept in the folder where it is there.

    Args:
        finished: the records by the ids of their cells.
        folder: where answers are kept, by the identities of the scorings.
    """
    answers: dict[Question, Answer] = {}
    missing: dict[tuple[Any, ...], list[Question]] = {}
    for question in questions:
        if (kept := _kept(_file(folder, question, finished, resamples))) is not None:
            answers[question] = kept
        else:
            missing.setdefault(tuple(finished[question.of[0]][name] for name in TEST), []).append(question)
    for done, together in enumerate(missing.values()):
        progress(done, len(missing), "test sets")
        tests = _read(dict.fromkeys(cell for question in together for cell in question.cells), finished, read)
        found = _computed(together, finished, tests, resamples)
        for question, answer in found.items():
            if not tests.unread.keys() & {*question.cells}:
                with suppress(OSError):  # a store that is only read keeps nothing: computed again the next time
                    write_atomically(_file(folder, question, finished, resamples), json.dumps(answer, indent=1))
        answers |= found
    return answers


def _read(cells: Iterable[str], finished: Mapping[str, Record], read: Read) -> _Tests:
    tests = _Tests()
    for cell in cells:
        record = finished[cell]
        try:
            found = read(cell, [result["test_set"] for result in record["results"]])
        except UserError as error:
            tests.unread[cell] = f"the predictions of {cell} can't be read: {error}"
            continue
        for name, predictions in found.items():
            test = tests.at[cell, name] = f"{name} {predictions.digest}"
            if test not in tests.groups:
                tests.groups[test] = Groups.make(predictions.speakers)
            counted = _counted(record["task"], record["variant"], predictions)
            tests.counted.setdefault(test, {}).update({(cell, metric): c for metric, c in counted.items()})
    return tests


def _counted(task: str, variant: str | None, predictions: Predictions) -> dict[str, np.ndarray]:
    """Metric → counts `[N, C]`, of texts normalised as they were scored."""
    protocol = TASKS[task]
    references = [protocol.normalise(text) for text in predictions.references]
    answers = [protocol.normalise(text) for text in predictions.answers]
    tokenizer = protocol.tokenizer(variant)
    return {metric: counts(metric, references, answers, tokenizer) for metric in protocol.metrics}


def _computed(
    questions: Sequence[Question], finished: Mapping[str, Record], tests: _Tests, resamples: int
) -> dict[Question, Answer]:
    answers: dict[Question, dict[str, Any]] = {question: {} for question in questions}
    for test, counted in tests.counted.items():
        groups = tests.groups[test]
        scores = {}
        if groups.size > 1:
            drawn = resampled(groups, [(metric, c) for (_, metric), c in counted.items()], resamples)
            scores = dict(zip(counted, drawn, strict=True))
        metrics = dict.fromkeys(metric for _, metric in counted)
        for question in questions:
            for name in _names(question, finished):
                if {tests.at.get((cell, name)) for cell in question.cells} == {test}:
                    body = {}
                    for metric in metrics if scores else ():
                        sides = ([scores[cell, metric] for cell in side] for side in (question.of, question.against))
                        found = estimate(*sides, groups.size, bounds(metric))
                        body[metric] = [found.value, *found.interval, found.p]
                    about = {"resampled": groups.unit if scores else None, "groups": groups.size}
                    answers[question][name] = about | {"metrics": body or None, "reason": None if body else TOO_SMALL}
    for question, answer in answers.items():
        for name in set(_names(question, finished)) - answer.keys():
            reason = next((tests.unread[cell] for cell in question.cells if cell in tests.unread), DIFFERENT)
            answer[name] = {"resampled": None, "groups": None, "metrics": None, "reason": reason}
    return answers


def _names(question: Question, finished: Mapping[str, Record]) -> list[str]:
    return [result["test_set"] for result in finished[question.of[0]]["results"]]


def _file(folder: Path, question: Question, finished: Mapping[str, Record], resamples: int) -> Path:
    """Where an answer is kept. Its name covers all that it depends on: scorings know task, version, data and test sets."""
    sides = [[finished[cell]["identity"] for cell in side] for side in (question.of, question.against)]
    digest = hashlib.sha256(json.dumps([VERSION, resamples, *sides]).encode()).hexdigest()[:24]
    return folder / f"{digest}.json"


def _kept(path: Path) -> Answer | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None  # not computed yet, or torn: computed anew
    return found if isinstance(found, dict) else None
