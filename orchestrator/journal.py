"""Journal: a launch as MLflow sees it. The store is the truth: what MLflow can't take now never stops a launch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.cell import Cell
from orchestrator.errors import UserError
from orchestrator.graph import Graph
from orchestrator.launches import Launch, launches
from orchestrator.matrix import Matrix
from orchestrator.monitor import Monitor
from orchestrator.store import Store
from orchestrator.tracking import Tracker
from orchestrator.tracking import client as mlflow
from orchestrator.tracking.material import Gatherer
from tasks import TASKS

PAUSE_SECONDS = 60.0
"""How long nothing is tried after MLflow could not be written; twice as long after each further time."""
LONGEST_PAUSE_SECONDS = 600.0


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
        self._store, self._cells, self._monitor = store, cells, monitor
        self._space = graph.space.name
        self._gatherer = Gatherer(graph, store)
        self._tracker = Tracker(uri, store.root, self._space)
        self._behind = False
        self._pause, self._quiet_until = PAUSE_SECONDS, 0.0
        self._launch = Launch.begin(store.root, self._space, len(cells), local)
        try:
            self._tracker.start(self._launch.id, self._launch.params, started=self._launch.started)
            self._tracker.present(graph.space.question, [_place(cell) for cell in graph.space.cells()])
        except Exception as error:
            self._launch.forget(store.root)
            raise mlflow.unusable(self._tracker.uri, error) from error

    def log(self, cell: Cell) -> None:
        """Writes a cell. A failure is told once; nothing is tried for a while then, and all is made up for at the end."""
        if time.monotonic() < self._quiet_until:
            self._behind = True
            return
        try:
            self._write(cell)
        except Exception as error:
            self._quiet_until = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            if not self._behind:
                why = mlflow.reason(error).rstrip(".")
                self._say(f"MLflow can't be written now: {why}. Nothing is lost, the launch goes on without it.")
            self._behind = True

    def finish(self, matrix: Matrix, interrupted: bool, report: str | None = None) -> None:
        """Writes what is behind, and the matrix with its figures and the report (an HTML page)."""
        self._launch = self._launch.end(self._store.root, interrupted)
        try:
            if self._behind and not self._tracker.answers():
                raise ConnectionError("it does not answer")
            for cell in self._cells if self._behind else ():
                self._write(cell)
            self._tracker.finish(matrix, interrupted, report, self._launch.ended)
        except Exception as error:
            why = mlflow.reason(error).rstrip(".")
            self._say(f"MLflow lacks a part of this launch: {why}. `tokengrid sync {self._space}` writes it later.")

    def withdraw(self) -> None:
        """Takes the launch back: it could not begin, so there is nothing to look at."""
        self._launch.forget(self._store.root)
        with suppress(Exception):  # what went wrong with the launch is what there is to tell
            self._tracker.withdraw()

    def _write(self, cell: Cell) -> None:
        self._tracker.log_cell(*self._gatherer.gather(cell))

    def _say(self, text: str) -> None:
        self._monitor.say(text, "yellow")


@dataclass(frozen=True)
class Synced:
    """What a sync has done.

    Attributes:
        uri: where to.
        runs: how many runs, of launches and of cells, were written or changed.
        cells: how many cells have a run there now.
    """

    uri: str
    runs: int
    cells: int


def sync(
    graph: Graph,
    store: Store,
    cells: Sequence[Cell],
    matrix: Matrix,
    uri: str | None = None,
    report: str | None = None,
) -> Synced:
    """Brings MLflow up to the store: runs of cells, the last launch with the matrix, the end of earlier ones.

    Doing it again changes nothing. A launch that goes on elsewhere is left open.

    Args:
        matrix: of these cells, with its statistics.
        uri: where MLflow tracks; None for MLFLOW_TRACKING_URI, else SQLite in the store.
        report: the HTML page.

    Raises:
        UserError: MLflow can't be reached, or went away; what was written until then stays.
    """
    tracker, gatherer = Tracker(uri, store.root, graph.space.name), Gatherer(graph, store)
    try:
        ended = [launch for launch in launches(store.root, graph.space.name) if launch.ended is not None]
        # A launch of a part of the space has its own matrix; a store without launches gets a run of its own.
        whole = [launch for launch in ended if launch.cells == len(cells)]
        last = whole[-1] if whole else None
        if last:
            tracker.start(last.id, last.params, started=last.started, reopen=False)
        else:
            tracker.start("sync", {"space": graph.space.name, "cells": len(cells)}, reopen=False)
        tracker.present(graph.space.question, [_place(cell) for cell in graph.space.cells()])
        logged = [tracker.log_cell(*gatherer.gather(cell)) for cell in cells]
        tracker.finish(matrix, bool(last and last.interrupted), report, last.ended if last else None)
        for launch in ended:
            tracker.close(launch.id, launch.interrupted, launch.ended)
    except UserError:
        raise
    except Exception as error:
        told = (
            f"MLflow in {mlflow.without_password(tracker.uri)} could not be written: {mlflow.reason(error).rstrip('.')}"
        )
        raise UserError(f"{told}. {len(tracker.written)} runs were; the same command goes on from there.") from error
    return Synced(mlflow.without_password(tracker.uri), len(tracker.written), sum(run is not None for run in logged))


def _place(cell: Cell) -> dict[str, object]:
    return {**cell.coordinates, "primary": TASKS[cell.task].primary}
