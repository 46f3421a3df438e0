"""What a cell answered, as a table that MLflow shows: one row an utterance, the same rows in every cell of a test set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import TASKS
from tasks.metrics import counts, score

if TYPE_CHECKING:
    import pandas as pd

ROWS = 2000
"""Rows of a table: MLflow's page loads it whole."""
PARQUET_BYTES = 20 << 20
"""A larger file of all predictions stays in the store alone."""


def table(path: Path, record: Mapping[str, Any]) -> tuple[pd.DataFrame, str]:
    """The answers on the test sets of a finished cell, and how many of all of them these are.

    Columns: id, answer, reference, `error` (of this utterance: WER or PER; 1 for a wrong label; 1 − chrF for
    translations), test_set, and `problem` (why an utterance could not be heard, else empty).

    Args:
        path: a `predictions.parquet`.
        record: of the cell.
    """
    import pandas as pd

    frame = pd.read_parquet(path, columns=["id", "split", "reference", "answer", "error"])
    tests = [result["test_set"] for result in record["results"]]
    frame = frame[frame["split"].isin(tests)].sort_values(["split", "id"], ignore_index=True)
    whole = len(frame)
    if whole > ROWS:  # spread evenly, so that every cell shows the same utterances
        frame = frame.iloc[[number * whole // ROWS for number in range(ROWS)]].reset_index(drop=True)
    problem = frame["error"].astype(object)
    shown = pd.DataFrame(
        {
            # MLflow's page of tables groups by the first column and compares the second over runs.
            "id": frame["id"],
            "answer": frame["answer"].fillna(""),
            "reference": frame["reference"],
            "error": _errors(record, frame["reference"].tolist(), frame["answer"].fillna("").tolist()),
            "test_set": frame["split"],
            "problem": problem.where(problem.notna(), ""),
        },
        dtype=object,  # as MLflow expects texts
    )
    told = f"all {whole} utterances" if whole <= ROWS else f"{ROWS} of {whole} utterances, spread evenly over their ids"
    return shown, told


def _errors(record: Mapping[str, Any], references: list[str], answers: list[str]) -> list[float]:
    """The error of each utterance, as its task normalises texts; higher is worse."""
    if not references:
        return []
    task = TASKS[record["task"]]
    metric = "chrf" if task.primary == "bleu" else task.primary
    said = [task.normalise(text) for text in references], [task.normalise(text) for text in answers]
    values = score(metric, counts(metric, *said, task.tokenizer(record["variant"])))
    if metric == "chrf":
        values = 1 - values / 100
    elif metric == "accuracy":
        values = 1 - values
    return [round(float(value), 4) for value in values]
