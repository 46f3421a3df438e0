"""`--local`: everything one after the other in one process. The reference that the cluster is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.cell import Cell
from orchestrator.execution import Todo, attempt, do_cell, do_work, todo
from orchestrator.graph import Graph
from orchestrator.monitor import Monitor
from orchestrator.store import Store


def run(
    graph: Graph,
    store: Store,
    cells: Sequence[Cell],
    monitor: Monitor,
    on_cell: Callable[[Cell], None] = lambda cell: None,
) -> None:
    """Builds what the cells share, then the cells. What fails takes down only what depends on it.

    Args:
        on_cell: called with every cell of the launch once its state is final, also with those finished before.
    """
    graph.put_leaves(store)
    plan = todo(graph, store, cells)
    monitor.begin(works=len(plan.works), cells=len(plan.cells), finished=plan.finished)
    unfinished = set(plan.cells)
    for cell in cells:
        if cell not in unfinished:
            on_cell(cell)
    failed = prepare(store, plan, monitor)
    for cell in plan.cells:
        scoring = graph.scorings[cell]
        if not failed.isdisjoint(stage.identity for stage in graph.needs(cell)):
            monitor.skip(cell.label, "cell")
        else:
            with monitor.watch(cell.label, kind="cell") as watched:
                watched.reason = attempt(
                    store, [scoring], lambda c=cell, s=scoring, p=watched: do_cell(store, c, s, progress=p)
                )
        on_cell(cell)


def prepare(store: Store, plan: Todo, monitor: Monitor) -> set[str]:
    """Builds what the cells share. Returns the identities of the stages that could not be built."""
    failed: set[str] = set()
    for work in plan.works:
        done: set[str] = set()
        if left := work.without(failed):
            with monitor.watch(left.name, kind="stage") as watched:
                watched.reason = attempt(store, left.stages, lambda w=left, p=watched: do_work(store, w, p))
            # One bad layer doesn't spoil what the same pass made of the others.
            done = {s.identity for s in left.stages if watched.reason is None or store.has(s)}
        else:
            monitor.skip(work.name, "stage")
        failed |= {stage.identity for stage in work.stages} - done
    return failed
