"""Encoders: what an utterance's frames may depend on, and what a checkpoint's identity must."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import ENCODERS as KINDS
from tiny_models import make_encoder

from orchestrator import checkpoints
from orchestrator.encoders import ENCODERS, Encoder, EncoderSpec
from orchestrator.encoders.hf import HfConfig, resolve
from orchestrator.encoders.spectral import SpectralSpec
from orchestrator.errors import StageError, UserError
from orchestrator.stage import Build, Stage, canonical
from orchestrator.stages import pretraining
from orchestrator.stages.pretraining import Pretraining
from orchestrator.store import Artifact, Store

EXACT = 1e-5
LENGTHS = (16_000, 400, 9_000, 24_321, 719)


@dataclass(frozen=True, kw_only=True)
class Leaf(Stage):
    """An input whose artifact the test writes itself."""

    name: ClassVar[str] = "leaf"
    content: str


RECORDINGS, SELECTION = Leaf(content="recordings"), Leaf(content="selection")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def speech(samples: int, seed: int = 0) -> np.ndarray:
    """Something like speech: a gliding harmonic tone, loud and soft by turns, with noise and an offset."""
    chance = np.random.default_rng([seed, samples])
    time = np.arange(samples) / 16_000
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * chance.uniform(1, 3) * time)) / 16_000
    voice = sum(np.sin(k * phase) / k for k in range(1, 8)) * (1 + np.sin(2 * np.pi * 4 * time))
    return (0.1 * voice + 0.01 * chance.standard_normal(samples) + 0.02).astype(np.float32)


def nothing(stage: Stage) -> Artifact:
    raise AssertionError("this encoder needs no stage")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: make_encoder(root / kind, kind) for kind in KINDS}


@pytest.fixture
def hubert(tmp_path) -> Path:
    return make_encoder(tmp_path / "hubert")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """A store with a few short recordings."""
    root = tmp_path_factory.mktemp("store")
    store = Store(root)
    rows = []
    for number in range(10):
        wave = speech(12_000 + 1_500 * number, number)
        soundfile.write(root / f"{number}.wav", wave, 16_000)
        rows.append((f"u{number}", str(root / f"{number}.wav"), None, len(wave) / 16_000, ""))
    table = pd.DataFrame(rows, columns=["id", "audio", "start", "seconds", "hash"]).astype({"start": "float64"})
    store.put(RECORDINGS, lambda folder: table.to_parquet(folder / "recordings.parquet"))
    store.put(SELECTION, lambda folder: (folder / "ids.json").write_text(json.dumps([f"u{n}" for n in range(8)])))
    return store


def small(**changes) -> Pretraining:
    values = {"hidden": 16, "bins": 20, "steps": 12, "batch_seconds": 2.0} | changes
    return Pretraining(recordings=RECORDINGS, selection=SELECTION, **values)


@pytest.fixture(scope="module")
def apc(store) -> Encoder:
    stage = small()
    store.build(stage)
    return ENCODERS["apc"](hidden=16, bins=20, steps=12, batch_seconds=2.0).spec(RECORDINGS, SELECTION).load(store.open)


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


# Hugging Face


@pytest.mark.parametrize("kind", KINDS)
def test_an_utterance_in_a_batch_has_the_frames_it_has_alone(models, kind):
    encoder = resolve(str(models[kind])).load(nothing)
    assert_alone_equals_batched(encoder, [speech(n) for n in LENGTHS], [0, 1, 2, 3])


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_the_hidden_state_that_the_model_itself_reports(models, kind):
    from transformers import AutoFeatureExtractor, AutoModel

    wave = speech(11_111)
    model = AutoModel.from_pretrained(models[kind]).eval()
    (models[kind] / "extractor").mkdir(exist_ok=True)
    extractor = AutoFeatureExtractor.from_pretrained("") if False else None
    del extractor, AutoFeatureExtractor
    normal = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
    with torch.no_grad():
        states = model(torch.from_numpy(normal)[None], output_hidden_states=True).hidden_states
    frames = resolve(str(models[kind])).load(nothing).frames([wave], [0, 1, 2, 3])[0]
    for layer in frames:
        np.testing.assert_allclose(frames[layer], states[layer][0].numpy(), rtol=1e-4, atol=2e-6)
