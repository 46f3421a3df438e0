"""Units: the nearest code of every frame, de-duplicated, with run lengths. Filled by the encoder pass."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from orchestrator import tokens
from orchestrator.encoders import EncoderSpec
from orchestrator.stage import Build, Stage
from orchestrator.stages.codebook import Codebook
from orchestrator.stages.shards import Shard, read_shards
from orchestrator.store import Artifact

RUNS = "\trun lengths"
"""Suffix of the name of the run lengths that lie beside an utterance's units; no id holds a tab."""


@dataclass(frozen=True, kw_only=True)
class Units(Stage):
    """Files: `shard-*.safetensors` (id → units `[N]`, id + RUNS → run lengths `[N]`), `index.parquet`, `statistics.json`."""

    name: ClassVar[str] = "units"
    gpu: ClassVar[bool] = True
    resumable: ClassVar[bool] = True

    recordings: Stage
    encoder: EncoderSpec
    layer: int
    codebook: Codebook

    @property
    def readable(self) -> str:
        return f"{self.recordings.readable}-{self.encoder.name}-layer{self.layer}-k{self.codebook.k}"

    def build(self, at: Build) -> None:
        from orchestrator.stages.encoder_pass import fill  # the pass knows the stages it fills

        fill(self, at)


def pack(name: str, codes: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """The arrays that a shard holds for an utterance with codes `[T]`, in the smallest unsigned type for `k`."""
    units, runs = tokens.deduplicate(codes)
    return {name: units.astype(np.uint16 if k <= 1 << 16 else np.uint32), name + RUNS: runs}


def read_units(artifact: Artifact, ids: Iterable[str] | None = None, dedup: bool = True) -> dict[str, np.ndarray]:
    """Units by utterance, int64: `[N]` de-duplicated, or one a frame `[T]`."""
    wanted = None if ids is None else list(ids)
    units = read_shards(artifact, wanted)
    if dedup:
        return {name: values.astype(np.int64) for name, values in units.items()}
    runs = read_shards(artifact, wanted, suffix=RUNS)
    return {name: np.repeat(values.astype(np.int64), runs[name]) for name, values in units.items()}


def write_statistics(folder: Path, shards: Iterable[Shard], k: int) -> None:
    """`statistics.json`: of the tokens over the whole corpus, one a frame and de-duplicated."""
    from safetensors.numpy import load_file

    every, kept, seconds = [], [], 0.0
    for shard in shards:
        arrays = load_file(folder / f"{shard.name}.safetensors")
        for recording in shard.recordings:
            if recording.id in arrays:
                kept.append(arrays[recording.id])
                every.append(np.repeat(arrays[recording.id], arrays[recording.id + RUNS]))
                seconds += recording.seconds
    report = {
        "frames": tokens.statistics(every, k, seconds),
        "deduplicated": tokens.statistics(kept, k, seconds),
    }
    (folder / "statistics.json").write_text(json.dumps(report, indent=1), "utf-8")
