"""Samples of many layers by one pass: each as it is alone; and what a long recording does to its batch."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from encoder_material import RECORDINGS, SELECTION, Leaf, nothing, speech
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import make_encoder

from orchestrator.encoders.hf import resolve
from orchestrator.errors import StageError
from orchestrator.stages.encoding import encode
from orchestrator.stages.recordings import read_recordings
from orchestrator.stages.sample import Lottery, Sample, fill_together, read_sample, together
from orchestrator.store import Store

LAYERS = (0, 1, 2, 3)
SECONDS = (0.9, 1.4, 2.4, 0.7, 1.9, 1.2, 0.01, 1.1)
"""One is longer than the tiny Whisper takes, one too short for a frame."""


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: make_encoder(root / kind, kind) for kind in ("hubert-group", "whisper")}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with eight recordings, all of them for training but the last."""
    store = Store(tmp_path / "store")
    rows = []
    for number, seconds in enumerate(SECONDS):
        wave = speech(int(16_000 * seconds), number)
        soundfile.write(tmp_path / f"{number}.wav", wave, 16_000)
        rows.append((f"u{number}", str(tmp_path / f"{number}.wav"), None, len(wave) / 16_000, ""))
    table = pd.DataFrame(rows, columns=["id", "audio", "start", "seconds", "hash"]).astype({"start": "float64"})
    store.put(RECORDINGS, lambda folder: table.to_parquet(folder / "recordings.parquet"))
    store.put(SELECTION, lambda folder: (folder / "ids.json").write_text(json.dumps([f"u{n}" for n in range(7)])))
    return store


def samples(folder: Path, frames: int = 150) -> list[Sample]:
    encoder = resolve(str(folder))
    return [
        Sample(recordings=RECORDINGS, selection=SELECTION, encoder=encoder, layer=layer, frames=frames)
        for layer in LAYERS
    ]


def files(store: Store, stage: Sample) -> dict[str, bytes]:
    artifact = store.open(stage)
    return {name: artifact.file(name).read_bytes() for name in artifact.names}


@pytest.mark.parametrize("kind", ["hubert-group", "whisper"])
def test_each_layer_of_one_pass_is_byte_for_byte_what_is_built_alone(store: Store, models, kind):
    stages = samples(models[kind])
    fill_together(store, stages[::-1])
    together_made = [files(store, stage) for stage in stages]
    for stage, made in zip(stages, together_made, strict=True):
        folder = store.folder(stage)
        folder.rename(folder.with_name("aside"))
        store.build(stage)
        assert files(store, stage) == made
        assert made.keys() == {"sample.safetensors"}
        assert len(read_sample(store.open(stage))["frames"]) == 150
        (folder.with_name("aside")).rename(folder.with_name(f"aside-{stage.layer}"))
    assert len({made["sample.safetensors"] for made in together_made}) == len(LAYERS)


def test_one_pass_encodes_each_recording_once(store: Store, models):
    told: list[float] = []
    fill_together(store, samples(models["hubert-group"]), lambda done, total, unit: told.append(done / total))
    assert told == [n / 7 for n in range(1, 8)]


def test_what_is_finished_is_left_alone_and_the_rest_is_filled(store: Store, models):
    stages = samples(models["hubert-group"])
    before = store.build(stages[1]).manifest
    fill_together(store, stages)
    assert store.open(stages[1]).manifest == before
    assert all(store.has(stage) for stage in stages)
    untouched: list[float] = []
    fill_together(store, stages, lambda done, total, unit: untouched.append(done))
    assert not untouched


def test_two_passes_at_once_share_the_work_and_never_wait_for_each_other_for_ever(store: Store, models):
    stages = samples(models["hubert-group"])
    told: Counter[int] = Counter()

    def fill(number: int, some: list[Sample]) -> None:
        fill_together(store, some, lambda done, total, unit: told.update([number]))

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(fill, 0, stages[:3]), pool.submit(fill, 1, stages[:0:-1])]:
            done.result(timeout=60)
    assert all(store.has(stage) for stage in stages)
    assert sorted(told.values()) == [7, 7]
    assert not list((store.root / "store" / "sample").glob("*.lease")) + list(store.root.rglob("*.tmp"))


def test_a_pass_that_fails_leaves_nothing_behind_and_says_why(store: Store, models):
    nobody = Leaf(content="too long and too short")
    store.put(nobody, lambda folder: (folder / "ids.json").write_text('["u2", "u6"]'))
    stages = [replace(stage, selection=nobody) for stage in samples(models["whisper"])]
    with pytest.raises(StageError, match=r"none of the 2 training recordings .* 'u2': too long for the encoder"):
        fill_together(store, stages)
    assert not any(store.has(stage) for stage in stages)
    assert not list((store.root / "store" / "sample").iterdir())


def test_a_layer_that_fp16_cannot_hold_takes_down_no_other(store: Store, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = make_encoder(tmp_path / "loud", "whisper")
    weights = load_file(folder / "model.safetensors")
    # Blocks add to their input: what the second makes too loud stays so in the third.
    weights["encoder.layers.1.fc2.bias"] += 1e6
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    stages = samples(folder)
    with pytest.raises(StageError, match=r"layer 2 gives values that fp16 can't hold .*; layer 3 gives values"):
        fill_together(store, stages)
    assert [store.has(stage) for stage in stages] == [True, True, False, False]
    with pytest.raises(StageError, match="layer 2 gives"):
        store.build(stages[2])


def test_samples_belong_together_when_they_differ_in_their_layer_alone(store: Store, models):
    stages = samples(models["hubert-group"])
    assert len({together(stage) for stage in stages}) == 1
    changes = {"frames": 151, "sample_seed": 1, "selection": RECORDINGS, "encoder": resolve(str(models["whisper"]))}
    others = [replace(stages[0], **{name: value}) for name, value in changes.items()]
    assert len({together(stage) for stage in (*stages, *others)}) == 1 + len(others)
    with pytest.raises(ValueError, match="more than their layer"):
        fill_together(store, [stages[0], others[0]])


def test_mean_and_deviation_are_of_all_frames_drawn(store: Store, models):
    few, every = samples(models["hubert-group"])[2], samples(models["hubert-group"], frames=10**6)[2]
    some, whole = (read_sample(store.build(stage)) for stage in (few, every))
    frames = whole["frames"].astype(np.float64)
    assert len(frames) > 400
    np.testing.assert_allclose(some["mean"], frames.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(some["std"], frames.std(0), rtol=1e-5)
    np.testing.assert_allclose(whole["mean"], some["mean"], rtol=1e-6)


# The lottery


def won(lottery: Lottery, utterances: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Runs a lottery over utterances of so many frames: utterance and place of each winner."""
    kept = [(name, int(t)) for name, frames in utterances for t in np.flatnonzero(lottery.draw(name, frames))]
    return [kept[place] for place in lottery.winners()]


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    size=st.integers(1, 60),
    seed=st.integers(0, 9),
    chance=st.randoms(use_true_random=False),
)
def test_the_choice_does_not_depend_on_the_order_of_utterances(lengths, size, seed, chance):
    utterances = [(f"u{number}", frames) for number, frames in enumerate(lengths)]
    winners = won(Lottery(size, seed), utterances)
    assert len(set(winners)) == len(winners) == min(size, sum(lengths))
    chance.shuffle(utterances)
    assert won(Lottery(size, seed), utterances) == winners


def test_every_frame_has_the_same_chance():
    utterances = [("a", 3), ("b", 20), ("c", 7)]
    wins = Counter(winner for seed in range(2000) for winner in won(Lottery(10, seed), utterances))
    assert len(wins) == 30
    # A third of 2,000, give or take five standard deviations.
    assert all(abs(count - 2000 / 3) < 5 * (2000 * 2 / 9) ** 0.5 for count in wins.values())


def test_few_of_the_frames_that_come_are_kept_meanwhile():
    lottery = Lottery(1000, 0)
    kept = sum(lottery.draw(f"u{n}", 100).sum() for n in range(1000))
    assert 1000 <= kept < 7000
    assert lottery.seen == 100_000


# A recording longer than the encoder takes


def test_a_long_recording_never_takes_its_batch_down(store: Store, models):
    encoder = resolve(str(models["whisper"])).load(nothing)
    recordings = read_recordings(store.open(RECORDINGS))
    found = {recording.id: frames for recording, frames in encode(encoder, recordings, [1, 3])}
    assert found.keys() == {f"u{n}" for n in range(8)}
    refused = {name for name, frames in found.items() if isinstance(frames, str)}
    assert refused == {"u2", "u6"}
    assert "2.4 s, it takes at most 2 s" in found["u2"] and "max_seconds" in found["u2"]
    assert len(found["u4"][3]) == 95
