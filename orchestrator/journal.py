"""Journal: a launch as MLflow sees it. The store is the truth: what MLflow can't take now never stops a launch."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence

from orchestrator import results
from orchestrator.cell import Cell
from orchestrator.graph import Graph
from orchestrator.matrix import Matrix
from orchestrator.monitor import Monitor
from orchestrator.store import Store
from orchestrator.tracking import Tracker


class Journal:
    """Writes one launch: its cells as their state becomes final, its matrix at the end.

    Args:
        uri: where MLflow tracks; None for MLFLOW_TRACKING_URI, else SQLite in the store.

    Raises:
        UserError: MLflow can't be reached at the start, when nothing is lost yet.
    """

    def __init__(
        self, uri: str | None, graph: Graph, store: Store, cells: Sequence[Cell], monitor: Monitor, local: bool
    ):
        self._graph, self._store, self._cells, self._monitor = graph, store, cells, monitor
        self._tracker = Tracker(uri, store.root, graph.space.name)
        self._behind = False
        # A launch has a name of its own: two at the same time never share a parent run.
        launch = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
        self._tracker.start(launch, {"space": graph.space.name, "cells": len(cells), "local": local})

    def log(self, cell: Cell) -> None:
        """Writes a cell; a failure is told once and made up for at the end."""
        self._attempt(lambda: self._write(cell))

    def finish(self, matrix: Matrix, interrupted: bool) -> None:
        """Writes what is behind, and the matrix."""
        if self._behind:
            self._behind = False
            for cell in self._cells:
                self.log(cell)
        self._attempt(lambda: self._tracker.finish(matrix, interrupted))

    def withdraw(self) -> None:
        """Takes the launch back: it could not begin, so there is nothing to look at."""
        self._attempt(self._tracker.withdraw)

    def _write(self, cell: Cell) -> None:
        record = results.record(self._graph, self._store, cell)
        curve = results.curve(self._graph, self._store, cell) if record["status"] == "ok" else ()
        self._tracker.log_cell(record, curve, identity=record["identity"])

    def _attempt(self, write: Callable[[], object]) -> None:
        try:
            write()
        except Exception as error:
            if not self._behind:
                reason = (str(error) or type(error).__name__).splitlines()[0]
                self._monitor.say(
                    f"MLflow can't be written now: {reason}. Results are in the store; run again to log them.", "yellow"
                )
            self._behind = True
