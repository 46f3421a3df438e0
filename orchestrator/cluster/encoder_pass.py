"""The encoder pass on Ray Data: shard descriptors in, shard files on disk, small rows of metadata out."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import ray
from ray.data import ActorPoolStrategy, DataContext

from orchestrator.cluster.resources import Resources
from orchestrator.execution import attempt, threads
from orchestrator.graph import Work
from orchestrator.monitor import Monitor
from orchestrator.stages.encoder_pass import Pass, ShardWorker, Target, opened
from orchestrator.stages.recordings import read_recordings
from orchestrator.stages.shards import cut
from orchestrator.store import Artifact, Store

STARVED_SECONDS = 24 * 3600
"""A pipeline may wait long for a GPU that another one uses, or for a large shard on a processor; not for ever."""


def run_pass(store: Store, work: Work, monitor: Monitor, resources: Resources) -> str | None:
    """Runs a pass over the cluster. Returns the reason if it failed; its leases are held by the driver."""
    return attempt(store, work.stages, lambda: _run(store, work, monitor, resources))


def _run(store: Store, work: Work, monitor: Monitor, resources: Resources) -> None:
    with opened(store, work.stages) as a_pass:
        todo = a_pass.todo
        if todo:
            total, done = sum(shard.seconds for shard in todo), 0.0
            for row in _pipeline(store, a_pass, resources):
                done += row["seconds"]
                monitor.update(work.name, done, total, "seconds of audio")


def _pipeline(store: Store, a_pass: Pass, resources: Resources) -> Any:
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # the monitor tells how far a pass is
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = STARVED_SECONDS
    positions = {shard.name: position for position, shard in enumerate(a_pass.shards)}
    items = [{"position": positions[shard.name]} for shard in a_pass.todo]  # longest first
    root, targets, stored = str(store.root), a_pass.targets, a_pass.stored  # not the pass: its shards are many
    most = min(len(items), resources.gpus or resources.works)

    class OfThisPass(ShardActor):
        """Without arguments: those of an actor would go to the object store, where a restart may not find them."""

        def __init__(self) -> None:
            super().__init__(root, targets, stored)

    shards = ray.data.from_items(items, override_num_blocks=len(items))
    return shards.map_batches(
        OfThisPass,
        compute=ActorPoolStrategy(min_size=1, max_size=most, initial_size=most),
        batch_size=1,
        **resources.work(targets[0].stage),
    ).iter_rows()


class ShardActor:
    """Keeps the encoder and the codebooks; writes the shards that it is named. Harmless when run twice."""

    def __init__(self, root: str, targets: list[Target], stored: dict[int, Artifact]):
        store = Store(root)
        first = targets[0].stage
        # Cut here again, by the recordings alone: cheaper than sending every shard's list of utterances.
        self._shards = cut(read_recordings(store.open(first.recordings)))
        self._stage = first
        self._worker = ShardWorker(targets, store.open, stored)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with threads(self._stage):
            rows = [self._worker.run(self._shards[int(position)]) for position in batch["position"]]
        return {key: np.asarray([row[key] for row in rows]) for key in rows[0]}
