"""The search: Ray Tune with one trial a cell. The trial's artifact is the truth; what Tune keeps is only for looking at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from orchestrator.cell import Cell
from orchestrator.cluster import sharded
from orchestrator.cluster.prepare import Prepare, progress_path
from orchestrator.cluster.resources import Resources, is_sharded
from orchestrator.execution import attempt, do_cell
from orchestrator.graph import Graph
from orchestrator.monitor import Monitor, ProgressFile, read_progress
from orchestrator.stage import walk
from orchestrator.stages.scoring import Scoring
from orchestrator.stages.training import Training
from orchestrator.store import Store


def search(
    graph: Graph,
    store: Store,
    cells: Sequence[Cell],
    prepare: Prepare,
    monitor: Monitor,
    on_cell: Callable[[Cell], None],
    resources: Resources,
) -> None:
    """Runs a trial for every cell, as its stages become ready, and waits for all. FIFO: no cell is stopped early."""
    trainings = {cell.id: graph.scorings[cell].training for cell in cells}
    slots = resources.trials(min(training.decoder.gpus for training in trainings.values()))
    asked = {name: resources.trial(training) for name, training in trainings.items()}
    ready = Ready(graph, store, cells, prepare, monitor, on_cell, resources)
    trainable = tune.with_parameters(
        run_cell,
        root=str(store.root),
        scorings={cell.id: (cell, graph.scorings[cell]) for cell in cells},
        slots=slots,
        resources=resources,
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, lambda config: asked[config["cell"]]),
        tune_config=tune.TuneConfig(
            search_alg=ready,
            num_samples=-1,
            max_concurrent_trials=slots,
            # An idle actor would keep its GPU from a training that waits for all of them.
            reuse_actors=not any(
                is_sharded(stage) for stage in walk(*trainings.values()) if isinstance(stage, Training)
            ),
            trial_name_creator=lambda trial: trial.config["cell"],
            trial_dirname_creator=lambda trial: trial.config["cell"],
        ),
        run_config=tune.RunConfig(
            name=graph.space.name,
            storage_path=str(store.root / "tune"),
            verbose=0,
            # A trial's process may die with its spot instance: once more, from its checkpoint.
            failure_config=tune.FailureConfig(max_failures=1),
            callbacks=[ShowProgress(store, monitor, ready)],
        ),
    )
    tuner.fit()


def flat(cell: Cell) -> dict[str, Any]:
    """A cell as Tune's configuration: the same keys in every cell, empty where they don't apply."""
    return {"cell": cell.id, **{key: "" if value is None else value for key, value in cell.coordinates.items()}}


def param_space(cells: Sequence[Cell]) -> dict[str, Any]:
    """A Tune parameter space with one value a cell, for those who launch a search of their own."""
    return {"cell": tune.grid_search([cell.id for cell in cells])}


def run_cell(
    config: dict[str, Any],
    root: str,
    scorings: dict[str, tuple[Cell, Scoring]],
    slots: int = 1,
    resources: Resources | None = None,
) -> None:
    """The trainable: trains and scores the cell that `config["cell"]` names, and reports its metrics.

    A failure is recorded in the store and reported as `status: failed`; it never stops other trials.

    Args:
        resources: of the cluster, by default what it has now.
    """
    store = Store(root)
    cell, scoring = scorings[config["cell"]]
    progress = ProgressFile(progress_path(store, cell.id))
    if is_sharded(scoring.training):
        training = dataclasses.replace(scoring.training, trials_at_once=slots)
        there = resources or Resources.of_cluster()
        reason = attempt(store, [scoring], lambda: sharded.build(store, training, there, progress))
        reason = reason or sharded.finish(store, cell, scoring, slots, there, progress)
    else:
        reason = attempt(store, [scoring], lambda: do_cell(store, cell, scoring, slots, progress))
    if reason is not None:
        tune.report({"status": "failed", "reason": reason})
        return
    metrics = store.open(scoring).json("metrics.json")
    first = next(r for r in metrics["results"] if r["split"] == "test")
    tune.report({"status": "ok", **first["metrics"]})


class OfThisLaunch:
    """Tune pickles and copies what it is given, to restore it later. These hold the launch itself and are never restored:
    a new launch asks the store what is finished."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self


class Ready(OfThisLaunch, Searcher):
    """Hands out cells whose shared stages are there, in the order of the space; ends when every cell has had its turn."""

    def __init__(
        self,
        graph: Graph,
        store: Store,
        cells: Sequence[Cell],
        prepare: Prepare,
        monitor: Monitor,
        on_cell: Callable[[Cell], None],
        resources: Resources,
    ):
        super().__init__()
        self._scorings = graph.scorings
        self._store = store
        self._needs = {cell: graph.needs(cell) for cell in cells}
        self._prepare = prepare
        self._monitor = monitor
        self._on_cell = on_cell
        self._resources = resources
        self._running: dict[str, Cell] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next cell's configuration, None while none is ready, or FINISHED."""
        running = [self._scorings[cell].training for cell in self._running.values()]
        free = self._resources.free(running, beside_works=not self._prepare.is_done)
        if free <= 0:
            return None
        for cell, stages in list(self._needs.items()):
            state = self._prepare.state(stages)
            if state == "pending":
                continue
            if state == "ready" and self._resources.share(self._scorings[cell].training) > free:
                return None  # the next one, however small, would keep it waiting
            del self._needs[cell]
            if state == "failed":
                self._monitor.skip(cell.label, "cell")
                self._on_cell(cell)
                continue
            self._running[trial_id] = cell
            self._monitor.start(cell.label, "cell")
            return flat(cell)
        return None if self._needs else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune tells that a trial has ended."""
        cell = self._running.pop(trial_id, None)
        if cell is None:
            return
        reason = (result or {}).get("reason")
        if reason is None and (error or not result):
            # Nobody in that process could record it any more: it was killed, perhaps for its memory.
            reason = "its process died (out of memory?)"
            self._store.fail(self._scorings[cell], reason)
        progress_path(self._store, cell.id).unlink(missing_ok=True)
        self._monitor.end(cell.label, "cell", reason)
        self._on_cell(cell)

    @property
    def running(self) -> list[Cell]:
        """The cells whose trials run now."""
        return list(self._running.values())

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store knows what is finished."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a new launch asks the store."""


class ShowProgress(OfThisLaunch, tune.Callback):
    """Shows how far the running trials are."""

    def __init__(self, store: Store, monitor: Monitor, ready: Ready):
        self._store = store
        self._monitor = monitor
        self._ready = ready

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called by Tune's loop, several times a second."""
        for cell in self._ready.running:
            if found := read_progress(progress_path(self._store, cell.id)):
                self._monitor.update(cell.label, *found)
