"""The encoder pass: one way through the recordings fills features of several layers and units of several codebooks.

It is an executor, not a stage: `ShardWorker.run` is a plain function over one shard, (encoder, shard, what is wanted) →
shard files. `cluster/` maps it over the shards with Ray Data; here they are looped over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from orchestrator.device import available
from orchestrator.encoders import Encoder
from orchestrator.errors import StageError
from orchestrator.stage import Build, Progress, Stage, silent
from orchestrator.stages.codebook import Assigner, read_centroids
from orchestrator.stages.encoding import encode
from orchestrator.stages.features import Features
from orchestrator.stages.recordings import read_recordings
from orchestrator.stages.shards import Shard, cut, errors_of, is_written, remove_broken, write_index, write_shard
from orchestrator.stages.units import Units, pack, write_statistics
from orchestrator.store import Artifact, Store

Filled = Features | Units
MOST_BROKEN = 0.05
"""Share of utterances without frames at which a pass fails instead of going on."""


@dataclass(frozen=True)
class Target:
    """A stage that a pass fills, and the folder in which its shards lie."""

    stage: Filled
    folder: Path


class ShardWorker:
    """Runs shards, keeping the encoder and the codebooks between them; the encoder is loaded when first needed.

    Args:
        targets: what to fill; all share recordings and encoder.
        open: opens the artifacts of inputs.
        stored: layer → a finished features artifact of this encoder, which spares encoding.
        device: of the encoder; None for the best that is there.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        open: Callable[[Stage], Artifact],
        stored: dict[int, Artifact],
        device: str | None = None,
    ):
        self._targets = targets
        self._open = open
        self._stored = stored
        self._device = device or available()
        self._encoder: Encoder | None = None
        self._assigners = {
            t.stage.identity: Assigner(read_centroids(open(t.stage.codebook)), self._device)
            for t in targets
            if isinstance(t.stage, Units)
        }

    def run(self, shard: Shard) -> dict[str, Any]:
        """Writes the shard's files that are not there yet. Returns a small row: shard, written, encoded, seconds."""
        todo = [t for t in self._targets if not is_written(t.folder, shard)]
        layers = sorted({t.stage.layer for t in todo})
        encoded = 0
        if todo:
            frames, errors, encoded = self._frames(shard, layers)
            for target in todo:
                write_shard(target.folder, shard, self._arrays(target.stage, frames), errors)
        return {"shard": shard.name, "written": len(todo), "encoded": encoded, "seconds": shard.seconds}

    def _frames(self, shard: Shard, layers: list[int]) -> tuple[dict[int, dict[str, np.ndarray]], dict[str, str], int]:
        frames: dict[int, dict[str, np.ndarray]] = {layer: {} for layer in layers}
        errors: dict[str, str] = {}
        missing = []
        for layer in layers:
            if (path := self._stored_shard(shard, layer)) is not None:
                frames[layer] = load_file(path)
                errors |= errors_of(path)
            else:
                missing.append(layer)
        if missing:
            if self._encoder is None:
                deepest = max(t.stage.layer for t in self._targets)
                self._encoder = self._targets[0].stage.encoder.load(self._open, self._device, deepest)
            for recording, values in encode(self._encoder, shard.recordings, missing):
                if isinstance(values, str):
                    errors[recording.id] = values
                else:
                    for layer in missing:
                        frames[layer][recording.id] = values[layer]
        return frames, errors, len(shard.recordings) if missing else 0

    def _stored_shard(self, shard: Shard, layer: int) -> Path | None:
        if layer in self._stored:
            return self._stored[layer].file(f"{shard.name}.safetensors")
        # Features that this very pass has written before it was interrupted.
        for target in self._targets:
            if isinstance(target.stage, Features) and target.stage.layer == layer and is_written(target.folder, shard):
                return target.folder / f"{shard.name}.safetensors"
        return None

    def _arrays(self, stage: Filled, frames: dict[int, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        if isinstance(stage, Features):
            return frames[stage.layer]
        assign = self._assigners[stage.identity]
        arrays: dict[str, np.ndarray] = {}
        for name, values in frames[stage.layer].items():
            arrays |= pack(name, assign(values), stage.codebook.k)
        return arrays


@dataclass(frozen=True)
class Pass:
    """An encoder pass that holds the leases of what it fills.

    Attributes:
        targets: the stages that are not finished yet.
        shards: of their recordings, longest first.
        stored: layer → finished features of the same recordings and encoder.
    """

    targets: list[Target]
    shards: list[Shard]
    stored: dict[int, Artifact]

    @property
    def todo(self) -> list[Shard]:
        """Shards that some target lacks."""
        return [s for s in self.shards if not all(is_written(t.folder, s) for t in self.targets)]


@contextmanager
def opened(store: Store, stages: Sequence[Filled]) -> Iterator[Pass]:
    """Leases the stages' folders for a pass; at the end, with every shard there, finishes their artifacts.

    Raises:
        StageError: more than `MOST_BROKEN` of the utterances have no frames.
    """
    first = stages[0]
    stored = {
        s.layer: store.open(s)
        for s in (
            Features(recordings=first.recordings, encoder=first.encoder, layer=layer) for layer in _layers(stages)
        )
        if store.has(s)
    }
    with ExitStack() as leases:
        # In one order for everybody: two passes never hold what the other one waits for.
        partials = [(s, leases.enter_context(store.making(s))) for s in sorted(stages, key=lambda s: s.identity)]
        targets = [Target(stage, folder) for stage, folder in partials if folder is not None]
        if not targets:
            yield Pass([], [], stored)
            return
        shards = cut(read_recordings(store.open(first.recordings)))
        yield Pass(targets, shards, stored)
        finish(targets, shards)


def finish(targets: Sequence[Target], shards: Sequence[Shard]) -> None:
    """Writes what artifacts have beside their shards."""
    total = sum(len(shard.recordings) for shard in shards)
    for target in targets:
        broken = write_index(target.folder, shards)
        if len(broken) > MOST_BROKEN * total:
            # What couldn't be read may be there next time: those shards are made anew then, for all that is filled.
            for each in targets:
                remove_broken(each.folder, shards)
            name, reason = next(iter(broken.items()))
            raise StageError(f"{len(broken)} of {total} utterances have no frames, the first is '{name}': {reason}")
        if isinstance(target.stage, Units):
            write_statistics(target.folder, shards, target.stage.codebook.k)


def run_locally(store: Store, stages: Sequence[Filled], progress: Progress = silent) -> None:
    """The pass as a loop: the reference that the distributed one is compared with."""
    with opened(store, stages) as a_pass:
        if a_pass.targets:
            worker = ShardWorker(a_pass.targets, store.open, a_pass.stored)
            _loop(worker, a_pass.todo, progress)


def fill(stage: Filled, at: Build) -> None:
    """Builds one stage by a pass of its own."""
    shards = cut(read_recordings(at.open(stage.recordings)))
    target = Target(stage, at.folder)
    _loop(ShardWorker([target], at.open, {}), shards, at.progress)
    finish([target], shards)


def _loop(worker: ShardWorker, shards: Sequence[Shard], progress: Progress) -> None:
    total, done = sum(shard.seconds for shard in shards), 0.0
    for shard in shards:
        worker.run(shard)
        done += shard.seconds
        progress(done, total, "seconds of audio")


def _layers(stages: Sequence[Filled]) -> list[int]:
    return sorted({stage.layer for stage in stages})
