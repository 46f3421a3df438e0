"""The Python API: a space, its cells, a launch, the matrix as a frame, and the trainable for a Tune search of one's own.

from orchestrator.grid import Grid

grid = Grid("demo", store=".tokengrid")
grid.run()
frame = grid.matrix().frame()
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import graph as graphs
from orchestrator import results, space_file
from orchestrator.about import about
from orchestrator.cell import Cell, as_text, matches
from orchestrator.errors import UserError, suggest
from orchestrator.execution import todo, unmeasured
from orchestrator.graph import Graph
from orchestrator.matrix import Matrix
from orchestrator.monitor import Monitor
from orchestrator.plan import Plan, make_plan
from orchestrator.space import Space
from orchestrator.stage import Progress, silent
from orchestrator.store import DEFAULT_STORE, Store

if TYPE_CHECKING:
    from orchestrator.journal import Synced


class Grid:
    """A search space over a store.

    Args:
        name: of a space in `search_spaces/`, the path of a YAML file, or a `Space`.
        store: the state folder; artifacts, the MLflow database and logs lie there.
        only: coordinate → wanted values (as text), to run and show a part of the cells.
        progress: told of the indexing of corpora.
        read_audio: whether audio that nobody has indexed yet is read; without it, its cells are shown as missing.

    Raises:
        UserError: the space has problems, or the store can't be used.
    """

    def __init__(
        self,
        name: str | Path | Space,
        store: str | Path | None = None,
        only: Mapping[str, Iterable[str]] | None = None,
        progress: Progress = silent,
        read_audio: bool = True,
    ):
        self.space = name if isinstance(name, Space) else space_file.load(name)
        self._only = {key: set(map(as_text, values)) for key, values in (only or {}).items()}
        self.cells = self._selected()
        self.store = Store(store or os.environ.get("TOKENGRID_STORE") or DEFAULT_STORE)
        self._progress = progress
        self._read_audio = read_audio

    @cached_property
    def graph(self) -> Graph:
        """The graph of stages; the first access indexes the corpora."""
        return graphs.resolve(self.space, self.store, self._progress, not self._read_audio, self.cells)

    def index(self) -> None:
        """Indexes the corpora now: reads, hashes and checks audio that has not been seen before."""
        _ = self.graph

    def plan(self) -> Plan:
        """What a launch would build and what it would cost, without reading any audio."""
        known = graphs.resolve(self.space, self.store, only_cached=True, cells=self.cells)
        return make_plan(known, self.store, self.cells)

    def run(
        self,
        local: bool = False,
        address: str | None = None,
        gpus: int = 0,
        monitor: Monitor | None = None,
        tracking_uri: str | None = None,
        track: bool = True,
    ) -> Matrix:
        """Runs every cell that is not finished, with what it needs, and returns the matrix.

        Args:
            local: one after the other in this process, without Ray.
            address: of a Ray cluster; None starts one on this machine.
            gpus: to which an autoscaling cluster may grow; those that it has now are counted anyway.
            monitor: shows the progress; None for lines in a log on standard error.
            tracking_uri: where MLflow tracks; None for MLFLOW_TRACKING_URI, else SQLite in the store.
            track: whether MLflow is written at all.
        """
        from orchestrator.journal import Journal

        self.index()
        monitor = monitor or Monitor()
        journal = Journal(tracking_uri, self.graph, self.store, self.cells, monitor, local) if track else None
        done = False
        try:
            with monitor:
                self._launch(local, address, gpus, monitor, journal.log if journal else lambda cell: None)
            done = True
            if told := unmeasured(self.graph, self.store, self.cells):
                monitor.say(told, "yellow")
        except UserError:  # the launch itself can't be made: no cluster answers, say
            if journal:
                journal.withdraw()
                journal = None
            raise
        finally:
            matrix = self.matrix(statistics=done)
            if journal:
                journal.finish(
                    matrix, interrupted=not done, report=self._logged_page(matrix, monitor) if done else None
                )
        return matrix

    def matrix(self, statistics: bool = False, baseline: Mapping[str, str] | None = None) -> Matrix:
        """The comparison matrix as it stands, also while a launch is running elsewhere.

        Args:
            statistics: with intervals and comparisons, which take a while where there are many test utterances.
            baseline: coordinate → value (as text) of what cells are compared with; by default the continuous cell.
        """
        found = results.records(self.graph, self.store, self.cells)
        found = results.with_analyses(self.graph, self.store, found)
        found = results.with_evidence(self.graph, self.store, found)
        if statistics:
            found = results.with_statistics(self.graph, self.store, found, baseline)
        published = self.space.reference
        described = published.described if published else None
        return Matrix(self.space.name, found, described, self.space.question, about(self.graph, self.store, self.cells))

    def report(
        self, folder: Path | str | None = None, baseline: Mapping[str, str] | None = None, audio: str = "link"
    ) -> Path:
        """Writes the report: a page with everything, the figures (PNG, SVG), and the matrix as LaTeX, CSV, JSON, Markdown.

        Args:
            folder: that is written; by default `reports/<space>` in the store.
            baseline: as `matrix` takes it.
            audio: of the worst utterances: `link` to the files, `embed` copies in the page, or `none`.

        Returns:
            The path of the page.
        """
        from orchestrator.report import files

        folder = Path(folder) if folder is not None else self.store.root / "reports" / self.space.name
        matrix = self.matrix(statistics=True, baseline=baseline)
        return files.write(matrix, self._page(matrix, folder, audio), folder)

    def sync(self, tracking_uri: str | None = None) -> Synced:
        """Brings MLflow up to the store: what it missed while it could not be reached, or everything, in a new place.

        Args:
            tracking_uri: where MLflow tracks; None for MLFLOW_TRACKING_URI, else SQLite in the store.
        """
        from orchestrator import journal

        matrix = self.matrix(statistics=True)
        page = self._page(matrix, self.store.root, "none")
        return journal.sync(self.graph, self.store, self.cells, matrix, tracking_uri, page)

    def _logged_page(self, matrix: Matrix, monitor: Monitor) -> str | None:
        """The page as it is logged: audio lies elsewhere. One that can't be drawn keeps no launch from its end."""
        try:
            return self._page(matrix, self.store.root, "none")
        except Exception as error:
            monitor.say(f"the report could not be drawn: {type(error).__name__}: {error}", "yellow")
            return None

    def _page(self, matrix: Matrix, folder: Path, audio: str) -> str:
        from orchestrator import evidence
        from orchestrator.report.page import render

        return render(matrix, evidence.mistakes(self.graph, self.store, matrix, folder, audio=audio))

    def analyse(self, monitor: Monitor | None = None) -> Matrix:
        """Builds here what the analysis of tokens and frames needs, trains no decoder, and returns the matrix with it."""
        from orchestrator import local

        self.graph.put_leaves(self.store)
        with monitor or Monitor() as shown:
            local.prepare(self.store, todo(self.graph, self.store, self.cells, analyses_only=True), shown)
        return self.matrix()

    def trainable(self) -> Callable[[dict[str, Any]], None]:
        """A Tune trainable; it trains the cell whose id is `config["cell"]`. Its shared stages must be there."""
        from functools import partial

        from orchestrator.cluster.search import run_cell

        scorings = {cell.id: (cell, self.graph.scorings[cell]) for cell in self.cells}
        return partial(run_cell, root=str(self.store.root), scorings=scorings)

    def prepare(self, monitor: Monitor | None = None) -> None:
        """Builds all shared stages here, one after the other, for those who launch Tune themselves."""
        from orchestrator import local

        self.graph.put_leaves(self.store)
        with monitor or Monitor() as shown:
            local.prepare(self.store, todo(self.graph, self.store, self.cells), shown)

    def param_space(self) -> dict[str, Any]:
        """A Tune parameter space with one value a cell: `tune.Tuner(grid.trainable(), param_space=grid.param_space())`."""
        from orchestrator.cluster.search import param_space

        return param_space(self.cells)

    def _launch(
        self, local: bool, address: str | None, gpus: int, monitor: Monitor, on_cell: Callable[[Cell], None]
    ) -> None:
        if local:
            from orchestrator import local as here

            here.run(self.graph, self.store, self.cells, monitor, on_cell)
        else:
            from orchestrator.cluster import environment

            environment.prepare(address)
            from orchestrator.cluster import launch

            launch.run(self.graph, self.store, self.cells, monitor, on_cell, address, gpus)

    def _selected(self) -> list[Cell]:
        cells = self.space.cells()
        for key in self._only:
            if key not in Cell.__dataclass_fields__:
                raise UserError(f"cells have no coordinate '{key}'; {suggest(key, Cell.__dataclass_fields__)}")
            there = {as_text(getattr(cell, key)) for cell in cells}
            for value in sorted(self._only[key] - there):
                raise UserError(f"no cell of {self.space.name} has {key}={value}; {suggest(value, there)}")
        found = [cell for cell in cells if matches(cell, self._only)]
        if not found:
            asked = " and ".join(f"{key}={','.join(sorted(values))}" for key, values in self._only.items())
            raise UserError(f"no cell of {self.space.name} has {asked} together")
        return found
