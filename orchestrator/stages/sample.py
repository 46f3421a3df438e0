"""Sample: a seeded uniform sample of real training frames of one layer, with mean and deviation per dimension."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from safetensors.numpy import load_file, save_file

from orchestrator import device
from orchestrator.encoders import EncoderSpec
from orchestrator.errors import StageError
from orchestrator.stage import Build, Stage
from orchestrator.stages.encoding import encode
from orchestrator.stages.recordings import Recording, read_recordings
from orchestrator.store import Artifact

SPARE = 4
"""A large corpus is not encoded whole for its sample: utterances are drawn until they hold this many times the frames."""


@dataclass(frozen=True, kw_only=True)
class Sample(Stage):
    """Files: `sample.safetensors` with frames fp16 `[N, D]` in random order, mean and std float32 `[D]`."""

    name: ClassVar[str] = "sample"
    gpu: ClassVar[bool] = True

    recordings: Stage
    selection: Stage
    encoder: EncoderSpec
    layer: int
    frames: int
    sample_seed: int = 0

    @property
    def readable(self) -> str:
        return f"{self.recordings.readable}-{self.encoder.name}-layer{self.layer}"

    def build(self, at: Build) -> None:
        wanted = set(at.open(self.selection).json("ids.json"))
        recordings = [r for r in read_recordings(at.open(self.recordings)) if r.id in wanted]
        drawn = draw(recordings, self.frames * SPARE / self.encoder.frame_rate, self.sample_seed)
        encoder = self.encoder.load(at.open, device.available(), deepest=self.layer)
        kept: dict[str, np.ndarray] = {}
        for done, (recording, frames) in enumerate(encode(encoder, drawn, [self.layer]), 1):
            if not isinstance(frames, str):
                kept[recording.id] = frames[self.layer]
            at.progress(done, len(drawn), "utterances")
        if not kept:
            raise StageError(f"none of the {len(drawn)} training recordings gives a frame of {self.encoder.name}")
        mean = sum(kept[name].sum(0, dtype=np.float64) for name in sorted(kept)) / sum(map(len, kept.values()))
        # Utterance by utterance: all frames at once in float64 would take four times the memory of the frames.
        squares = sum(np.square(kept[name] - mean).sum(0) for name in sorted(kept))
        every = np.concatenate([kept.pop(name) for name in sorted(kept)])
        deviation = np.sqrt(squares / len(every))
        chosen = np.random.default_rng(self.sample_seed).permutation(len(every))[: self.frames]
        save_file(
            {"frames": every[chosen], "mean": mean.astype(np.float32), "std": deviation.astype(np.float32)},
            at.folder / "sample.safetensors",
        )


def draw(recordings: list[Recording], seconds: float, seed: int) -> list[Recording]:
    """Recordings in seeded random order until they last `seconds`: all of a small corpus, a part of a large one."""
    order = sorted(recordings, key=lambda r: r.id)
    random.Random(seed).shuffle(order)
    total, drawn = 0.0, []
    for recording in order:
        if total >= seconds:
            break
        drawn.append(recording)
        total += recording.seconds
    return drawn


def read_sample(artifact: Artifact) -> dict[str, np.ndarray]:
    """frames fp16 `[N, D]`, mean `[D]`, std `[D]`."""
    return load_file(artifact.file("sample.safetensors"))
