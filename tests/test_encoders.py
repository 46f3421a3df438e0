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
    prepared = AutoFeatureExtractor.from_pretrained(models[kind])(wave, sampling_rate=16_000, return_tensors="pt")
    model = AutoModel.from_pretrained(models[kind]).eval()
    with torch.no_grad():
        states = model(prepared["input_values"], output_hidden_states=True).hidden_states
    frames = resolve(str(models[kind])).load(nothing).frames([wave], [0, 1, 2, 3])[0]
    for layer in frames:
        np.testing.assert_allclose(frames[layer], states[layer][0].numpy(), rtol=1e-4, atol=2e-6)


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(300, 12_000), min_size=1, max_size=5),
    kind=st.sampled_from(["hubert-group", "wavlm-layer-stable", "data2vec"]),
    layers=st.sets(st.integers(0, 3), min_size=1),
)
def test_padding_never_changes_a_frame(models, lengths, kind, layers):
    encoder = resolve(str(models[kind])).load(nothing)
    assert_alone_equals_batched(encoder, [speech(n, seed) for seed, n in enumerate(lengths)], sorted(layers))


@pytest.mark.parametrize("kind", ["hubert-group", "hubert-layer-stable", "wavlm-layer-stable"])
def test_only_the_blocks_that_are_needed_are_loaded_and_give_the_same_frames(models, kind):
    spec, waves = resolve(str(models[kind])), [speech(9_000), speech(5_000)]
    whole = spec.load(nothing).frames(waves, [0, 1, 2, 3])
    for deepest in (0, 1, 2):
        part = spec.load(nothing, deepest=deepest)
        assert len(part.blocks) == max(deepest, 1)
        for one, other in zip(whole, part.frames(waves, [deepest]), strict=True):
            np.testing.assert_allclose(other[deepest], one[deepest], rtol=1e-5, atol=1e-6)


def test_only_the_blocks_that_are_needed_are_computed(models):
    encoder = resolve(str(models["hubert-group"])).load(nothing)
    ran = []
    for number, block in enumerate(encoder.blocks, 1):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    encoder.frames([speech(4_000)], [0, 2])
    assert ran == [1, 2]


def test_the_preprocessor_says_whether_waveforms_are_normalised(tmp_path):
    normal = resolve(str(make_encoder(tmp_path / "a", "hubert-layer-stable", normalise=True)))
    plain = resolve(str(make_encoder(tmp_path / "b", "hubert-layer-stable", normalise=False)))
    assert (normal.normalise, plain.normalise) == (True, False)
    wave = speech(6_000)
    loud, quiet = (normal.load(nothing).frames([wave * gain], [3])[0][3] for gain in (1.0, 0.25))
    np.testing.assert_allclose(loud, quiet, rtol=1e-3, atol=1e-4)
    loud, quiet = (plain.load(nothing).frames([wave * gain], [3])[0][3] for gain in (1.0, 0.25))
    assert np.abs(loud - quiet).max() > 1e-3


def test_another_checkpoint_in_the_same_folder_is_another_encoder(hubert):
    before = resolve(str(hubert))
    make_encoder(hubert, seed=1)
    after = resolve(str(hubert))
    assert before.content != after.content
    with pytest.raises(StageError, match="have changed since this run began"):
        before.load(nothing)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_configuration_and_preprocessor_are_part_of_the_content(hubert, name):
    before = resolve(str(hubert)).content
    file = hubert / name
    file.write_text(json.dumps(json.loads(file.read_text()) | {"note": 1}))
    assert resolve(str(hubert)).content != before


def test_where_a_checkpoint_lies_is_no_part_of_its_identity(hubert, tmp_path):
    elsewhere = shutil.copytree(hubert, tmp_path / "elsewhere")
    (elsewhere / "README.md").write_text("a note")
    assert canonical(resolve(str(hubert))) == canonical(resolve(str(elsewhere)))
    assert canonical(resolve(str(hubert))) != canonical(resolve(str(hubert), dtype="bfloat16"))


def test_weights_without_safetensors_are_read_too(hubert, tmp_path):
    from safetensors.torch import load_file

    old = shutil.copytree(hubert, tmp_path / "old")
    torch.save(load_file(old / "model.safetensors"), old / "pytorch_model.bin")
    (old / "model.safetensors").unlink()
    waves = [speech(5_000)]
    new, bin = (resolve(str(folder)).load(nothing).frames(waves, [3])[0][3] for folder in (hubert, old))
    np.testing.assert_array_equal(new, bin)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_in_the_place_of_weights_is_never_run(hubert):
    import pickle

    (hubert / "model.safetensors").unlink()
    (hubert / "pytorch_model.bin").write_bytes(pickle.dumps(Path("a")))
    with pytest.raises(StageError, match="can't be loaded"):
        resolve(str(hubert)).load(nothing)


def test_a_checkpoint_that_lacks_weights_is_refused(hubert):
    from safetensors.torch import load_file, save_file

    weights = load_file(hubert / "model.safetensors")
    save_file({n: v for n, v in weights.items() if "layers.1.attention" not in n}, hubert / "model.safetensors")
    spec = resolve(str(hubert))
    spec.load(nothing, deepest=1)
    with pytest.raises(StageError, match=r"lacks \d+ weights .* encoder.layers.1.attention"):
        spec.load(nothing)


def test_a_torn_weights_file_is_refused(hubert):
    file = hubert / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(StageError, match="can't be loaded"):
        resolve(str(hubert)).load(nothing)


def test_another_kind_of_model_is_refused_with_all_its_problems(hubert):
    (hubert / "config.json").write_text(json.dumps({"model_type": "huberto"}))
    (hubert / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 24_000}))
    with pytest.raises(UserError) as error:
        resolve(str(hubert))
    for part in ("did you mean 'hubert'", "24000 Hz", "set normalise"):
        assert part in str(error.value)


@pytest.mark.parametrize("name", ["./nowhere", "wavlm-larg", "some/where/else"])
def test_a_checkpoint_that_is_not_there_is_named(name):
    with pytest.raises(UserError, match=r"Expected a folder|did you mean 'wavlm-large'"):
        resolve(name)


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """The hub's cache in an empty folder, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_offline_an_absent_checkpoint_says_what_to_do(hub):
    with pytest.raises(UserError, match="hf download someone/hubert"):
        resolve("someone/hubert")


def test_a_cached_checkpoint_is_known_by_its_commit_and_loads_without_network(hub):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = hub / "models--someone--hubert"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    folder = make_encoder(repo / "snapshots" / commit)
    spec = resolve("someone/hubert")
    assert spec.content == commit
    assert spec.name == "hubert"
    assert spec == resolve("someone/hubert", commit)
    assert len(spec.load(nothing).frames([speech(4_000)], [1])[0][1]) == 12
    (folder / "model.safetensors").unlink()
    with pytest.raises(StageError, match="weights of 'someone/hubert'"):
        spec.load(nothing)


def test_a_missing_shard_makes_weights_incomplete(hubert):
    (hubert / "model.safetensors").rename(hubert / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (hubert / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="no complete weights"):
        checkpoints.locate(str(hubert))


# Spectral


@pytest.mark.parametrize(
    "spec",
    [
        SpectralSpec(),
        SpectralSpec(bins=40, cmn=False),
        SpectralSpec(kind="mfcc", bins=40),
        SpectralSpec(kind="mfcc", deltas=False),
    ],
    ids=["logmel", "logmel-40", "mfcc", "mfcc-static"],
)
def test_spectral_frames_are_finite_repeatable_and_as_many_as_a_hubert_would_give(models, spec):
    waves = [speech(n) for n in LENGTHS] + [np.zeros(8_000, np.float32)]
    encoder, hubert = spec.load(nothing), resolve(str(models["hubert-group"])).load(nothing)
    assert_alone_equals_batched(encoder, waves, [0])
    for ours, theirs in zip(encoder.frames(waves, [0]), hubert.frames(waves, [0]), strict=True):
        assert len(ours[0]) == len(theirs[0])
        assert np.isfinite(ours[0]).all()


def test_mean_normalisation_takes_the_gain_away_and_only_that():
    wave = speech(8_000)
    one, louder = (SpectralSpec().load(nothing).frames([wave * gain], [0])[0][0] for gain in (1.0, 3.0))
    np.testing.assert_allclose(one, louder, atol=2e-3)
    plain, louder = (SpectralSpec(cmn=False).load(nothing).frames([wave * gain], [0])[0][0] for gain in (1.0, 3.0))
    np.testing.assert_allclose(louder - plain, 2 * np.log(3), atol=2e-3)


# APC


def test_padding_never_changes_a_frame_of_apc(apc):
    assert_alone_equals_batched(apc, [speech(n) for n in (*LENGTHS, 399)], [0, 1, 2])


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


# All kinds


def specs(models: dict[str, Path]) -> list[EncoderSpec]:
    made = [ENCODERS[kind]().spec(RECORDINGS, SELECTION) for kind in ENCODERS if kind != "hf"]
    return [*made, HfConfig(checkpoint=str(models["hubert-group"])).spec(RECORDINGS, SELECTION)]


def test_a_layer_that_is_not_there_is_an_error_naming_the_range(models):
    for spec in specs(models):
        for layer in range(spec.layers + 1):
            spec.check_layer(layer)
        for layer in (spec.layers + 1, -1, True):
            with pytest.raises(UserError, match=f"'{spec.name}' has no layer {layer}. It has layer"):
                spec.check_layer(layer)


def test_every_spec_is_a_stable_part_of_an_identity(models):
    forms = [json.dumps(canonical(spec), sort_keys=True) for spec in specs(models)]
    assert forms == [json.dumps(canonical(spec), sort_keys=True) for spec in specs(models)]
    assert len(set(forms)) == len(forms)
    assert all(spec.frame_rate == 50 for spec in specs(models))


def test_the_built_in_configurations_have_the_defaults_of_the_stage():
    spec = ENCODERS["apc"]().spec(RECORDINGS, SELECTION)
    assert spec.pretraining == Pretraining(recordings=RECORDINGS, selection=SELECTION)


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValueError, match="hiden"):
        ENCODERS["apc"].model_validate({"hiden": 3})
