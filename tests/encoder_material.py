"""What the tests of encoders share: waveforms, inputs of stages, and the comparison of a batch with its utterances alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from orchestrator.encoders import Encoder
from orchestrator.stage import Stage
from orchestrator.store import Artifact

EXACT = 1e-5
LENGTHS = (16_000, 560, 9_000, 24_321, 719)


@dataclass(frozen=True, kw_only=True)
class Leaf(Stage):
    """An input whose artifact the test writes itself."""

    name: ClassVar[str] = "leaf"
    content: str


RECORDINGS, SELECTION = Leaf(content="recordings"), Leaf(content="selection")


def speech(samples: int, seed: int = 0) -> np.ndarray:
    """Something like speech: a gliding harmonic tone, loud and soft by turns, with noise and an offset."""
    chance = np.random.default_rng([seed, samples])
    time = np.arange(samples) / 16_000
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * chance.uniform(1, 3) * time)) / 16_000
    voice = sum(np.sin(k * phase) / k for k in range(1, 8)) * (1 + np.sin(2 * np.pi * 4 * time))
    return (0.1 * voice + 0.01 * chance.standard_normal(samples) + 0.02).astype(np.float32)


def nothing(stage: Stage) -> Artifact:
    raise AssertionError("this encoder needs no stage")


def assert_alone_equals_batched(encoder: Encoder, waves: list[np.ndarray], layers: list[int]) -> None:
    for wave, batched in zip(waves, encoder.frames(waves, layers), strict=True):
        alone = encoder.frames([wave], layers)[0]
        for layer in layers:
            assert batched[layer].shape == alone[layer].shape
            assert batched[layer].dtype == np.float32
            assert batched[layer].shape[1] == encoder.spec.dimension_of(layer)
            if len(wave) < encoder.spec.shortest:
                assert len(batched[layer]) == 0
            else:
                assert np.abs(batched[layer] - alone[layer]).max() <= EXACT * np.abs(alone[layer]).max()
