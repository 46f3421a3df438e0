"""APC: what is trained here learns from the selection alone, and resumed equals uninterrupted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
from encoder_material import LENGTHS, RECORDINGS, SELECTION, Leaf, assert_alone_equals_batched, speech

from orchestrator.encoders import ENCODERS, Encoder
from orchestrator.errors import StageError
from orchestrator.stage import Build
from orchestrator.stages import pretraining
from orchestrator.stages.pretraining import Pretraining
from orchestrator.store import Store


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


def test_padding_never_changes_a_frame_of_apc(apc):
    assert_alone_equals_batched(apc, [speech(n) for n in (*LENGTHS, 400, 399)], [0, 1, 2])


def test_apc_learns_to_predict_better_than_by_copying(store):
    curve = store.build(small(steps=80)).json("curve.json")
    assert np.mean([row["loss"] for row in curve[-10:]]) < np.mean([row["copy"] for row in curve[-10:]])


def test_apc_learns_from_the_selection_alone(store, tmp_path):
    """Recordings outside the selection may change or vanish: the weights stay."""
    table = pd.read_parquet(store.open(RECORDINGS).file("recordings.parquet"))
    fewer = Leaf(content="fewer recordings")
    store.put(fewer, lambda folder: table[:8].to_parquet(folder / "recordings.parquet"))
    weights = [
        store.build(stage).file("weights.safetensors").read_bytes()
        for stage in (small(), replace(small(), recordings=fewer))
    ]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(("stopped_at", "goes_on_at"), [(3, [1]), (10, [9]), (12, [])])
def test_a_resumed_pretraining_equals_an_uninterrupted_one(store, tmp_path, monkeypatch, stopped_at, goes_on_at):
    monkeypatch.setattr(pretraining, "CHECKPOINT_STEPS", 4)

    def stop(done: float, total: float, unit: str) -> None:
        if done == stopped_at:
            raise KeyboardInterrupt

    stage, whole, torn = small(), tmp_path / "whole", tmp_path / "torn"
    whole.mkdir()
    torn.mkdir()
    stage.build(Build(whole, store.open))
    with pytest.raises(KeyboardInterrupt):
        stage.build(Build(torn, store.open, stop))
    (torn / "checkpoint.safetensors.tmp").write_bytes(b"half")
    steps: list[float] = []
    stage.build(Build(torn, store.open, lambda done, total, unit: steps.append(done)))
    assert steps[:1] == goes_on_at
    assert {p.name: p.read_bytes() for p in torn.iterdir()} == {p.name: p.read_bytes() for p in whole.iterdir()}


def test_a_diverging_pretraining_says_where_and_what_to_do(store, tmp_path):
    with pytest.raises(StageError, match=r"diverged at step \d+ of 12 .*Lower its learning_rate"):
        small(learning_rate=1e36).build(Build(tmp_path, store.open))


def test_pretraining_without_any_usable_utterance_says_so(store, tmp_path):
    nobody = Leaf(content="nobody")
    store.put(nobody, lambda folder: (folder / "ids.json").write_text('["unknown"]'))
    with pytest.raises(StageError, match="none of the 1 training utterances"):
        replace(small(), selection=nobody).build(Build(tmp_path, store.open))


def test_every_setting_of_the_pretraining_is_part_of_its_identity():
    changes = {"hidden": 8, "layers": 1, "bins": 10, "ahead": 1, "steps": 2, "seed": 9, "selection": RECORDINGS}
    changes |= {"batch_seconds": 3.0, "learning_rate": 0.1, "most_seconds": 5.0, "recordings": SELECTION}
    stages = [small(), *(replace(small(), **{name: value}) for name, value in changes.items())]
    assert len({stage.identity for stage in stages}) == len(stages)
