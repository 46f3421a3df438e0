"""What stands on the parent run of a launch: the matrix in every format, the figures, the report, numbers to compare."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.matrix import Matrix, ordered
from orchestrator.report import files
from orchestrator.report.drawing import save_all
from orchestrator.report.words import is_number
from orchestrator.tracking.values import digest, task_metric
from tasks.metrics import direction

if TYPE_CHECKING:
    from mlflow import MlflowClient


def log_artifacts(client: MlflowClient, run_id: str, matrix: Matrix, report: str | None) -> None:
    """Writes `matrix.*`, `figures/*` as PNG and SVG, and `report.html` where there is one."""
    for name, text in {**files.texts(matrix), "matrix.html": matrix.to_html()}.items():
        client.log_text(run_id, text, name)
    if report is not None:
        client.log_text(run_id, report, files.PAGE)
    with tempfile.TemporaryDirectory() as folder:
        save_all(matrix, Path(folder))
        client.log_artifacts(run_id, folder, "figures")


def numbers(matrix: Matrix) -> dict[str, float]:
    """Cells by status, and the best score of each column, so that launches can be compared."""
    named: dict[str, float] = {f"cells/{status}": count for status, count in matrix.counts().items()}
    for cell in matrix.cells:
        value = (cell["metrics"] or {}).get(cell["primary"])
        if cell["status"] == "ok" and is_number(value):
            name = task_metric(cell).replace("by task/", "best/", 1)
            better = max if direction(cell["primary"]) > 0 else min
            named[name] = better(value, named.get(name, value))
    return named


def fingerprint(matrix: Matrix) -> str:
    """Equal for a matrix that has been written already. When and where it was made is no part of it."""
    cells: list[Mapping[str, Any]] = [ordered(cell) for cell in matrix.cells]
    return digest([matrix.space, matrix.question, matrix.reference, cells])
