"""The files of a report: the page, the figures for papers, and the matrix in every format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import UserError
from orchestrator.report.drawing import save_all
from orchestrator.store import write_atomically

if TYPE_CHECKING:
    from orchestrator.matrix import Matrix

PAGE = "report.html"


def texts(matrix: Matrix) -> Mapping[str, str]:
    """The matrix in every format, by the name of its file."""
    return {
        "matrix.csv": matrix.to_csv(),
        "matrix.json": matrix.to_json(),
        "matrix.md": matrix.to_markdown(),
        "matrix.tex": matrix.to_latex(),
    }


def write(matrix: Matrix, page: str, folder: Path) -> Path:
    """Writes all of it into a folder, over an older report, and returns the path of the page.

    Raises:
        UserError: the folder can't be written.
    """
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        save_all(matrix, folder / "figures")
        for name, text in texts(matrix).items():
            write_atomically(folder / name, text)
        write_atomically(folder / PAGE, page)
    except OSError as error:
        raise UserError(
            f"the report can't be written to {folder} ({error.strerror or error}). Give a folder of yours with --to."
        ) from error
    return folder / PAGE
