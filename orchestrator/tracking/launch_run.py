"""What stands on the parent run of a launch: the matrix in every format, the figures, the report, numbers to compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator import report as reports
from orchestrator.matrix import Matrix, ordered
from orchestrator.report.words import is_number
from orchestrator.tracking.values import digest, metric_name, task_metric
from tasks.metrics import direction

if TYPE_CHECKING:
    from mlflow import MlflowClient

DPI = 150


def log_artifacts(client: MlflowClient, run_id: str, matrix: Matrix, report: str | None) -> None:
    """Writes `matrix.*`, `figures/*` as PNG and SVG, and `report.html` where there is one."""
    texts = {"csv": matrix.to_csv(), "json": matrix.to_json(), "md": matrix.to_markdown(), "html": matrix.to_html()}
    for kind, text in texts.items():
        client.log_text(run_id, text, f"matrix.{kind}")
    if report is not None:
        client.log_text(run_id, report, "report.html")
    for name in reports.drawable(matrix):
        figure = reports.draw(name, matrix)
        client.log_figure(run_id, figure, f"figures/{name}.png", save_kwargs={"dpi": DPI})
        client.log_figure(run_id, figure, f"figures/{name}.svg")


def numbers(matrix: Matrix) -> dict[str, float]:
    """Cells by status, and the best score of each column, so that launches can be compared."""
    named: dict[str, float] = {f"cells/{status}": count for status, count in matrix.counts().items()}
    for cell in matrix.cells:
        value = (cell["metrics"] or {}).get(cell["primary"])
        if cell["status"] == "ok" and is_number(value):
            name = metric_name(task_metric(cell).replace("by task/", "best/", 1))
            better = max if direction(cell["primary"]) > 0 else min
            named[name] = better(value, named.get(name, value))
    return named


def fingerprint(matrix: Matrix) -> str:
    """Equal for a matrix that has been written already. When and where it was made is no part of it."""
    cells: list[Mapping[str, Any]] = [ordered(cell) for cell in matrix.cells]
    return digest([matrix.space, matrix.question, matrix.reference, cells])
