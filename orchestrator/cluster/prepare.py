"""Prepare: the shared stages of a launch as Ray tasks, in graph order, independent ones side by side."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import ray

from orchestrator.cluster import sharded
from orchestrator.cluster.encoder_pass import run_pass
from orchestrator.cluster.resources import Resources, is_sharded
from orchestrator.execution import attempt, do_work
from orchestrator.graph import Work
from orchestrator.monitor import Monitor, ProgressFile, read_progress
from orchestrator.stage import Stage
from orchestrator.stages.training import Training
from orchestrator.store import Store

POLL_SECONDS = 0.25


class Prepare:
    """Builds works on the cluster while others ask which stages are ready.

    Args:
        works: inputs first, as `execution.todo` gives them.

    Attributes:
        error: what ended it before its time, if anything did; whoever runs it raises it.
    """

    def __init__(self, store: Store, works: list[Work], monitor: Monitor, resources: Resources):
        self._resources = resources
        self._store = store
        self._works = {work.id: work for work in works}
        self._monitor = monitor
        self._lock = threading.Lock()
        self._unfinished = set(self._works)
        self._pending = {stage.identity for work in works for stage in work.stages}
        self._failed: set[str] = set()
        self._stopped = threading.Event()
        self.error: Exception | None = None

    @property
    def is_done(self) -> bool:
        """Whether every work has ended, well or badly."""
        with self._lock:
            return not self._pending

    def state(self, stages: list[Stage]) -> str:
        """`ready`, `pending` or `failed`, of the stages that a cell needs."""
        with self._lock:
            if any(stage.identity in self._failed for stage in stages):
                return "failed"
            return "pending" if any(stage.identity in self._pending for stage in stages) else "ready"

    def stop(self) -> None:
        """Starts nothing more."""
        self._stopped.set()

    def run(self) -> None:
        """Runs every work whose needs are met, until all have ended. Passes run as Ray Data pipelines of the driver."""
        try:
            self._run()
        except Exception as error:  # nobody may wait for stages that will never come
            self.error = error
            with self._lock:
                self._failed |= self._pending
                self._pending.clear()

    def _run(self) -> None:
        waiting = dict(self._works)
        tasks: dict[ray.ObjectRef, Work] = {}
        passes: dict[Future[str | None], Work] = {}
        with ThreadPoolExecutor(max_workers=4, thread_name_prefix="pass") as pool:
            while (waiting or tasks or passes) and not self._stopped.is_set():
                free = self._resources.works - len(tasks) - len(passes)
                for work in self._startable(waiting, free):
                    self._monitor.start(work.name, "stage")
                    if work.is_pass:
                        passes[pool.submit(run_pass, self._store, work, self._monitor, self._resources)] = work
                    else:
                        options = _build.options(name=work.name, **self._resources.work(work.stages[0]))
                        tasks[options.remote(str(self._store.root), work, self._resources)] = work
                done, _ = ray.wait(list(tasks), timeout=POLL_SECONDS) if tasks else ([], [])
                for ref in done:
                    self._ended(tasks.pop(ref), _result(ref))
                for future in [f for f in passes if f.done()]:
                    self._ended(passes.pop(future), future.result())
                if not tasks:
                    time.sleep(POLL_SECONDS)
                for work in tasks.values():
                    if found := read_progress(progress_path(self._store, work.id)):
                        self._monitor.update(work.name, *found)

    def _startable(self, waiting: dict[str, Work], most: int) -> list[Work]:
        """Takes out of `waiting` what can begin, without the stages of which an input failed."""
        ready: list[Work] = []
        for work in [work for work in waiting.values() if self._unfinished.isdisjoint(work.needs)]:
            if len(ready) == most:
                break
            del waiting[work.id]
            left = work.without(self._failed)
            self._settle([stage for stage in work.stages if left is None or stage not in left.stages], failed=True)
            if left is not None:
                ready.append(left)
            else:
                self._unfinished.discard(work.id)
                self._monitor.skip(work.name, "stage")
        return ready

    def _ended(self, work: Work, reason: str | None) -> None:
        progress_path(self._store, work.id).unlink(missing_ok=True)
        if reason is not None and self._store.failure(work.stages[0]) is None:
            self._store.fail(work.stages[0], reason)
        done = [stage for stage in work.stages if reason is None or self._store.has(stage)]
        self._settle(done, failed=False)
        self._settle([stage for stage in work.stages if stage not in done], failed=True)
        self._unfinished.discard(work.id)
        self._monitor.end(work.name, "stage", reason)

    def _settle(self, stages: Iterable[Stage], failed: bool) -> None:
        identities = {stage.identity for stage in stages}
        with self._lock:
            self._pending -= identities
            if failed:
                self._failed |= identities


def progress_path(store: Store, name: str) -> Path:
    """Where a worker writes the progress of a work or a cell."""
    return store.root / "progress" / f"{name}.json"


@ray.remote(max_retries=2)
def _build(root: str, work: Work, resources: Resources) -> str | None:
    store, stage = Store(root), work.stages[0]
    progress = ProgressFile(progress_path(store, work.id))
    if isinstance(stage, Training) and is_sharded(stage):
        shared = dataclasses.replace(stage, trials_at_once=resources.works)
        return attempt(store, work.stages, lambda: sharded.build(store, shared, resources, progress))
    return attempt(store, work.stages, lambda: do_work(store, work, progress, resources.works))


def _result(ref: ray.ObjectRef) -> str | None:
    try:
        return ray.get(ref)
    except ray.exceptions.RayError as error:
        return f"its process died: {str(error).strip().splitlines()[-1]}"
