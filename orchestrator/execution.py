"""What there is to do, and how one piece of it is done: plain functions that the local loop and the cluster share."""

from __future__ import annotations

import dataclasses
import gc
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from orchestrator.cell import Cell
from orchestrator.errors import UserError
from orchestrator.graph import Graph, Work
from orchestrator.inference import places
from orchestrator.results import is_finished, note_finished
from orchestrator.stage import Progress, Stage, silent
from orchestrator.stages import encoder_pass, sample
from orchestrator.stages.inference import Inference
from orchestrator.stages.scoring import Scoring
from orchestrator.stages.training import Training
from orchestrator.store import Store, discard


@dataclass(frozen=True)
class Todo:
    """What a launch has to do.

    Attributes:
        works: shared work that some cell still needs, inputs first, cut to the stages that aren't there.
        cells: that are not finished, in the order of the space.
        finished: how many cells are there already.
    """

    works: list[Work]
    cells: list[Cell]
    finished: int


def todo(
    graph: Graph,
    store: Store,
    cells: Sequence[Cell],
    verify: bool = True,
    analyses_only: bool = False,
    measured: bool = True,
) -> Todo:
    """Compares the graph with the store. Artifacts that will be read are verified; a bad one counts as absent.

    Args:
        analyses_only: only what analyses need; no cell is to be trained.
        measured: whether a cell that has its result, but not how long its answers take, is to be done.
    """

    def is_done(scoring: Scoring) -> bool:
        measure = Inference.of(scoring) if measured else None
        return is_finished(store, scoring) and (measure is None or store.has(measure))

    unfinished = [cell for cell in cells if not (analyses_only or is_done(graph.scorings[cell]))]
    missing: set[str] = set()
    checked: set[str] = set()

    def visit(stage: Stage) -> None:
        if stage.identity in checked:
            return
        checked.add(stage.identity)
        if store.has(stage):
            if not verify or not store.open(stage).problems():
                return
            discard(store.folder(stage))
        missing.add(stage.identity)
        for below in stage.inputs:
            visit(below)

    for cell in unfinished:
        visit(graph.scorings[cell])
        visit(graph.scorings[cell].training)  # it may be gone though the scoring is there
    for cell in cells:
        if cell in graph.analyses:
            visit(graph.analyses[cell])
    works = []
    for work in graph.shared(cells):
        if stages := tuple(stage for stage in work.stages if stage.identity in missing):
            works.append(dataclasses.replace(work, stages=stages))
    kept = {work.id for work in works}
    works = [dataclasses.replace(w, needs=tuple(n for n in w.needs if n in kept)) for w in works]
    return Todo(works, unfinished, len(cells) - len(unfinished))


def do_work(store: Store, work: Work, progress: Progress = silent, at_once: int = 1) -> None:
    """Builds shared stages, of which `at_once` may share the machine."""
    with threads(work.stages[0]):
        if work.is_pass:
            encoder_pass.run_locally(store, work.stages, progress)
        elif work.is_sample:
            sample.fill_together(store, work.stages, progress)
        else:
            (stage,) = work.stages
            if isinstance(stage, Training):  # another cell starts from it
                stage = dataclasses.replace(stage, trials_at_once=at_once)
            store.build(stage, progress)


def do_cell(store: Store, cell: Cell, scoring: Scoring, trials_at_once: int = 1, progress: Progress = silent) -> None:
    """Trains and scores a cell, unless it is finished, and measures its inference; what it shares must be there."""
    training = dataclasses.replace(scoring.training, trials_at_once=trials_at_once)
    with threads(training):
        store.build(training, progress)
        store.build(dataclasses.replace(scoring, training=training), progress)
    note_finished(store, cell, scoring)
    with suppress(OSError):  # a cell that is finished stays so
        places.remember(store, scoring)
    if measure := Inference.of(scoring, trials_at_once):
        attempt(store, [measure], lambda: _measure(store, measure, progress))


def _measure(store: Store, stage: Inference, progress: Progress) -> None:
    # A cell that hears nothing waits for no recordings, and may be done before they are: whoever is second waits.
    for one in (stage.recordings, stage):
        with threads(one):
            store.build(one, progress)


def unmeasured(graph: Graph, store: Store, cells: Iterable[Cell]) -> str | None:
    """Which finished cells could not be measured, and why one of them could not; None where all could."""
    failures = {}
    for cell in cells:
        stage = Inference.of(graph.scorings[cell])
        if stage is not None and is_finished(store, stage.scoring) and (failure := store.failure(stage)):
            failures[cell] = failure
    if not failures:
        return None
    cell, failure = next(iter(failures.items()))
    return (
        f"how long answers take could not be measured for {len(failures)} finished cells, such as {cell.label}: "
        f"{failure['reason']} (log: {failure['log']}). Their scores stand; the next run tries it again."
    )


def attempt(store: Store, stages: Iterable[Stage], action: Callable[[], None]) -> str | None:
    """Runs an action that builds stages. A failure is recorded with its reason and a log, and never ends the launch.

    Returns:
        The reason, or None.
    """
    stages = list(stages)
    for stage in stages:
        store.forgive(stage)
    try:
        action()
    except Exception as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}".strip()
        with suppress(OSError):  # on a full disk there is no place for a record either; the reason is still told
            log = log_file(store, stages[0])
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(traceback.format_exc(), "utf-8")
            for stage in stages:
                if not store.has(stage):
                    store.fail(stage, reason, str(log))
        return reason
    finally:
        gc.collect()
    return None


def log_file(store: Store, stage: Stage) -> Path:
    """Where the log of a failed stage lies."""
    return store.root / "logs" / f"{stage.name}-{stage.identity}.log"


@contextmanager
def threads(stage: Stage) -> Iterator[None]:
    """The stated number of threads of a stage in torch and in BLAS, whoever runs it and where: sums depend on it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(stage.threads)
    try:
        with threadpool_limits(stage.threads):
            yield
    finally:
        torch.set_num_threads(before)
