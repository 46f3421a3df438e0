"""Matrices and mistakes as a report page is given them: with statistics, costs, failed cells and texts of any kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from test_matrix import ARMS, TASKS, demo, record

from orchestrator.matrix import COORDINATES, Matrix

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028'\"&amp;"
LOG = "logs/training-3.log"
INFERENCE = {"device": "cpu", "threads": 1, "trials_at_once": 2, "batched": {"batch": 16}, "single": {"batch": 1}}
QUESTION = "Which features should be fed?"


def sure(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records with intervals, and with comparisons with the continuous cell of their task."""
    told = []
    for cell in cells:
        results = [_judged(cell, result) for result in cell["results"] or ()]
        cost = (cell["cost"] or {}) | {
            "flops": 7.7e11,
            "total_seconds": 40.5,
            "rtf": 0.031,
            "first_token_seconds": 0.02,
        }
        cost |= {"stages": [_stage("codebook", "shared", 30.0, 3), _stage("training", cell["cell"], 31.25, 1)]}
        cost |= {"inference": INFERENCE, "rtf_batched": 0.004, "own_seconds": 31.25, "shared_out_seconds": 10.0}
        told.append({**cell, "results": results, "cost": cost if cell["status"] == "ok" else None})
    return told


def _stage(stage: str, identity: str, seconds: float, cells: int) -> dict[str, Any]:
    body = {"stage": stage, "name": f"{stage}-x", "identity": identity, "seconds": seconds, "share": seconds / cells}
    return body | {"cells": cells, "device": "cpu", "peak_memory_bytes": 2**30}


def _judged(cell: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    value = result["metrics"][cell["primary"]]
    interval = {metric: [v * 0.9, v * 1.1] for metric, v in result["metrics"].items()}
    judged = {**result, "interval": interval, "resampled": "speaker", "groups": 12, "comparison": None}
    judged |= {"uncompared": None, "seeds": None}
    if cell["features"] != "continuous":
        one = {cell["primary"]: value / 3}
        found = {"against": "c0", "baseline": "features=continuous", "difference": one, "p": {cell["primary"]: 0.001}}
        found |= {"interval": {cell["primary"]: [value / 4, value / 2]}, "p_holm": {cell["primary"]: 0.004}}
        judged["comparison"] = found
    return judged


def matrix(space: str = "demo") -> Matrix:
    """30 cells: 27 finished, one failed with a log, one missing, one stale."""
    cells = sure(demo(space).cells)
    cells[3] |= {"log": LOG}
    about = {
        "made": "2026-01-02T03:04:05+00:00",
        "versions": {"torch": "2.11.0"},
        "python": "3.11.7",
        "machine": "Linux x86_64",
        "git": {"commit": "0123abc", "dirty": True},
        "devices": ["cpu"],
        "seeds": [0],
        "corpora": [
            {
                "name": "spoken",
                "reader": "synthetic",
                "splits": {"test": {"utterances": 120, "hours": 0.25}},
                "quarantine": [{"id": "u1", "reason": "silent"}],
            }
        ],
    }
    return Matrix(space, cells, question=QUESTION, about=about)


def many(rows: int = 333) -> Matrix:
    """`rows` × 6 cells: another layer of another encoder in each arm's row, a failed one in every fiftieth."""
    cells = []
    for r in range(rows):
        arm = ARMS[r % len(ARMS[:-1])] | {"encoder": f"encoder{r // 48}", "layer": r // 4 % 12}
        for (task, variant), (primary, baseline, none, best) in TASKS.items():
            value = best + (none - best) * ((r * 37) % rows) / rows
            status = "failed" if r % 50 == 7 and task == "asr" else "ok"
            cells.append(
                record(
                    status, "diverged at step 9: the loss is NaN" if status == "failed" else None, value, baseline,
                    task=task, variant=variant, primary=primary, **arm,
                )
            )  # fmt: skip
    return Matrix("many", sure(cells), question=QUESTION)


def hostile() -> Matrix:
    """Every text that users and their data can give is markup that would run, were it taken for markup."""
    cells = []
    for cell in sure(demo().cells):
        changed = {name: HOSTILE for name in ("encoder", "corpus", "decoder") if cell[name] is not None}
        cells.append({**cell, **changed, "reason": HOSTILE if cell["status"] != "ok" else None, "log": HOSTILE})
    about = {"versions": {HOSTILE: HOSTILE}, "machine": HOSTILE, "devices": [HOSTILE]}
    about["corpora"] = [
        {
            "name": HOSTILE,
            "reader": HOSTILE,
            "splits": {HOSTILE: {"utterances": 1, "hours": None}},
            "quarantine": [{"id": HOSTILE, "reason": HOSTILE}],
        }
    ]
    reference = {"source": HOSTILE, "grade": "S", "meaning": HOSTILE, "notes": [HOSTILE]}
    return Matrix("demo", cells, reference, HOSTILE, about)


def mistakes(of: Matrix, text: str = "open the red door") -> list[dict[str, Any]]:
    """The mistakes of a task with texts and of one with labels, 12 utterances each."""
    found = []
    for task, kind in (("asr", "sequence"), ("keyword", "classification")):
        cells = [cell for cell in of.cells if cell["task"] == task and cell["status"] == "ok"][:2]
        shown = [{"cell": cell["cell"], "label": cell["features"], "score": 0.5} for cell in cells]
        for one in shown:
            if kind == "sequence":
                one["counts"] = {"hits": 9, "substitutions": 2, "deletions": 1, "insertions": 3, "reference": 12}
            else:
                one |= {"labels": [text, "no"], "confusion": [[5, 1], [0, 6]]}
        diff = [["equal", "open", "open"], ["delete", text, ""], ["substitute", "red", text], ["insert", "", text]]
        utterances = [
            {
                "id": f"{text} {i}",
                "speaker": text,
                "reference": text,
                "audio": {
                    "src": "speech.wav#t=0.5,1" if i else "https://elsewhere.org/x.wav",
                    "start": 0.5,
                    "seconds": 0.5,
                }
                | {"why": None},
                "answers": [
                    {"cell": cell["cell"], "answer": text, "error": None}
                    | {"errors": float((i + k) % 3), "diff": diff if kind == "sequence" else []}
                    for k, cell in enumerate(cells)
                ],
            }
            for i in range(12)
        ]
        found.append(
            {"title": task, "task": task, "variant": None, "test_set": "test", "kind": kind, "unread": []}
            | {"metric": "wer" if kind == "sequence" else "accuracy", "total": 120, "wrong": 40}
            | {"cells": shown, "utterances": utterances}
        )
    return found


def without_results(of: Matrix) -> Matrix:
    """The same space before anything has run."""
    cells = [record("missing", **{name: cell[name] for name in COORDINATES}) for cell in of.cells]
    return Matrix(of.space, cells, question=of.question)
