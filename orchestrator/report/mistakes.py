"""Mistakes: what was answered wrongly in a column of the matrix, utterance by utterance, and how mistakes add up.

Words are those that were scored: of the normalised texts, phonemes for the phoneme task, characters where the language
writes no blanks. Pure: from predictions to plain values (strings, numbers, lists, dicts) that a page can show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.report.contest import Contest
from tasks.task import Task

LIMIT = 30
"""Utterances shown of a column."""
SHOWN = 4
"""Configurations shown beside each other."""
LABELS = 40
"""Labels of a confusion matrix; the rest of them share a row and a column."""
NOTHING = "(no answer)"
OPERATIONS = {"equal": "equal", "replace": "substitute", "delete": "delete", "insert": "insert"}
"""rapidfuzz's names of what turns a reference into an answer, and ours."""

Audio = Callable[[str], Mapping[str, Any]]
"""Utterance → where its audio is: `{"src", "start", "seconds", "why"}`."""


@dataclass(frozen=True)
class Answer:
    """What was answered to one utterance.

    Attributes:
        reference, answer: before any normalisation.
        error: why the utterance could not be heard; None where it was.
    """

    id: str
    speaker: str | None
    reference: str
    answer: str
    error: str | None = None


@dataclass(frozen=True)
class Shown:
    """A cell whose answers are shown.

    Attributes:
        cell: its id.
        label: what tells it apart in the column.
        score: the primary metric on this test set.
    """

    cell: str
    label: str
    score: float
    answers: tuple[Answer, ...]


def chosen(contest: Contest) -> list[Mapping[str, Any]]:
    """Of each kind of features that hears speech the finished cell that is best on dev, at most `SHOWN`; records.

    Where dev has no score for any cell of a kind, its first one: test scores play no part.
    """
    best: dict[str, tuple[float, Mapping[str, Any]]] = {}
    for place in sorted((*contest.ranked, *contest.elsewhere), key=lambda place: place.row):
        for cell in place.finished:
            if all(result["test_set"] != contest.column.test_set for result in cell["results"]):
                continue
            value = (cell["dev"] or {}).get(contest.column.metric)
            preference = float("inf") if value is None else -contest.column.better * value
            kind = contest.kind(place)
            if kind not in best or preference < best[kind][0]:
                best[kind] = preference, cell
    return [cell for _, cell in best.values()][:SHOWN]


def mistakes(
    task: Task,
    variant: str | None,
    shown: Sequence[Shown],
    labels: Sequence[str] = (),
    limit: int = LIMIT,
    audio: Audio = lambda _: {"src": None, "start": None, "seconds": None, "why": "not asked for"},
) -> dict[str, Any]:
    """The mistakes of some cells on one test set.

    Args:
        shown: the cells; where they were asked different utterances, each is shown with those that it was asked.
        labels: that a classification was decoded into.
        limit: of utterances that are listed.

    Returns:
        `cells`, `utterances` (worst first: by mean error over the cells, then by id), how many there are (`total`) and how
        many of them any cell got `wrong`. An utterance's `errors` are edits per reference word, 1 − chrF / 100 for
        translation, and 0 or 1 for a label.
    """
    judge = _judge(task, variant)
    asked: dict[tuple[str, str], list[tuple[Shown, Answer, float]]] = {}
    for one in shown:
        for answer in one.answers:
            errors = judge(task.normalise(answer.reference), task.normalise(answer.answer))
            asked.setdefault((answer.id, answer.reference), []).append((one, answer, errors))
    wrong = {key: sum(e for *_, e in of) / len(of) for key, of in asked.items() if any(e > 0 for *_, e in of)}
    worst = sorted(wrong, key=lambda key: (-wrong[key], key))[:limit]
    return {
        "kind": task.kind,
        "cells": _labelled(task, shown, labels) if task.kind == "classification" else _counted(task, variant, shown),
        "total": len(asked),
        "wrong": len(wrong),
        "utterances": [
            {
                "id": name,
                "speaker": asked[name, reference][0][1].speaker,
                "reference": reference,
                "audio": dict(audio(name)),
                "answers": [
                    {
                        "cell": one.cell,
                        "answer": answer.answer,
                        "errors": errors,
                        "error": answer.error,
                        "diff": _difference(task, variant, answer),
                    }
                    for one, answer, errors in asked[name, reference]
                ],
            }
            for name, reference in worst
        ],
    }


def _judge(task: Task, variant: str | None) -> Callable[[str, str], float]:
    """How wrong an answer is, of normalised texts."""
    if task.kind == "classification":
        return lambda reference, answer: float(reference != answer)
    if task.primary in ("bleu", "chrf"):
        from sacrebleu.metrics import CHRF

        # One sentence has too few words for BLEU; chrF counts characters.
        chrf = CHRF()
        return lambda reference, answer: max(0.0, 1 - chrf.sentence_score(answer, [reference]).score / 100)
    from rapidfuzz.distance import Levenshtein

    def edits(reference: str, answer: str) -> float:
        words = _words(task, variant, reference)
        return Levenshtein.distance(words, _words(task, variant, answer)) / max(1, len(words))

    return edits


def _words(task: Task, variant: str | None, text: str) -> list[str]:
    return list("".join(text.split())) if task.tokenizer(variant) == "zh" else text.split()


def _difference(task: Task, variant: str | None, answer: Answer) -> list[list[str]]:
    """The answer aligned with the reference: `[operation, reference text, answer text]`, span by span."""
    if task.kind == "classification":
        same = task.normalise(answer.reference) == task.normalise(answer.answer)
        return [["equal" if same else "substitute", answer.reference, answer.answer]]
    reference, said = (_words(task, variant, task.normalise(text)) for text in (answer.reference, answer.answer))
    blank = "" if task.tokenizer(variant) == "zh" else " "
    return [
        [operation, blank.join(reference[first:last]), blank.join(said[begin:end])]
        for operation, first, last, begin, end in _spans(reference, said)
    ]


def _spans(reference: Sequence[str], answer: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
    """An alignment with the fewest edits, as jiwer's: operation, span of the reference, span of the answer."""
    from rapidfuzz.distance import Levenshtein

    return [
        (OPERATIONS[code.tag], code.src_start, code.src_end, code.dest_start, code.dest_end)
        for code in Levenshtein.opcodes(reference, answer)
    ]


def _counted(task: Task, variant: str | None, shown: Sequence[Shown]) -> list[dict[str, Any]]:
    """Cells with how many words they got right, took for others, left out and put in."""
    cells = []
    for one in shown:
        counts = Counter[str]()
        for answer in one.answers:
            reference, said = (
                _words(task, variant, task.normalise(text)) for text in (answer.reference, answer.answer)
            )
            counts["reference"] += len(reference)
            for operation, first, last, begin, end in _spans(reference, said):
                counts[operation] += max(last - first, end - begin)
        counted = {
            "hits": counts["equal"],
            "substitutions": counts["substitute"],
            "deletions": counts["delete"],
            "insertions": counts["insert"],
            "reference": counts["reference"],
        }
        cells.append({"cell": one.cell, "label": one.label, "score": one.score, "counts": counted})
    return cells


def _labelled(task: Task, shown: Sequence[Shown], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Cells with their confusion matrices, all over the same labels: rows are what was meant, columns what was said.

    Beyond `LABELS` labels those that are confused most stay, and the others share one; `others` then says how many these
    are, and how many answers took one of them for another.
    """
    pairs = [[(task.normalise(a.reference), task.normalise(a.answer) or NOTHING) for a in one.answers] for one in shown]
    known = {label for of in pairs for pair in of for label in pair} | set(map(task.normalise, labels))
    names = sorted(known, key=lambda label: (label == NOTHING, label))
    place = {label: label for label in names}
    if len(names) > LABELS:
        confused = Counter(label for of in pairs for pair in of if pair[0] != pair[1] for label in pair)
        kept = set(sorted(names, key=lambda label: (-confused[label], label))[: LABELS - 1])
        rest = f"{len(names) - len(kept)} others"
        place = {label: label if label in kept else rest for label in names}
        names = [label for label in names if label in kept] + [rest]
    at = {label: number for number, label in enumerate(names)}
    cells = []
    for one, of in zip(shown, pairs, strict=True):
        table = [[0] * len(names) for _ in names]
        for meant, said in of:
            table[at[place[meant]]][at[place[said]]] += 1
        cell = {"cell": one.cell, "label": one.label, "score": one.score, "labels": names, "confusion": table}
        if len(names) < len(known):
            hidden = sum(meant != said and place[meant] == place[said] for meant, said in of)
            cell["others"] = {"labels": len(known) - len(names) + 1, "confused": hidden}
        cells.append(cell)
    return cells
