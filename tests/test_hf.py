"""Hugging Face checkpoints: what their identity depends on, and which are refused, with what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_material import nothing, speech
from tiny_models import make_encoder

from orchestrator import checkpoints
from orchestrator.encoders.hf import FAMILIES, resolve
from orchestrator.errors import StageError, UserError
from orchestrator.stage import canonical


@pytest.fixture
def hubert(tmp_path) -> Path:
    return make_encoder(tmp_path / "hubert")


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


@pytest.mark.parametrize("kind", ["hubert-group", "whisper", "w2v-bert"])
def test_weights_without_safetensors_are_read_too(tmp_path, kind):
    from safetensors.torch import load_file

    new = make_encoder(tmp_path / "new", kind)
    old = shutil.copytree(new, tmp_path / "old")
    torch.save(load_file(old / "model.safetensors"), old / "pytorch_model.bin")
    (old / "model.safetensors").unlink()
    waves = [speech(5_000)]
    safe, bin = (resolve(str(folder)).load(nothing).frames(waves, [3])[0][3] for folder in (new, old))
    np.testing.assert_array_equal(safe, bin)


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
    assert checkpoints.commit_in(spec.content) == commit
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


@pytest.mark.parametrize("name", ["tf_model.h5", "flax_model.msgpack", "hubert.ckpt", "weights.pkl", "hubert.pt"])
def test_weights_in_another_format_are_refused(hubert, name):
    (hubert / "model.safetensors").rename(hubert / name)
    with pytest.raises(UserError, match=r"no complete weights. Expected one of model.safetensors, .*pytorch_model.bin"):
        resolve(str(hubert))


@pytest.mark.parametrize("kind", ["hubert-group", "whisper", "w2v-bert"])
def test_a_missing_preprocessor_is_named_with_what_to_do(tmp_path, kind):
    folder = make_encoder(tmp_path / kind, kind)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"no preprocessor_config.json .*: copy that file|it has no prep.*: copy that"):
        resolve(str(folder))


def test_the_settings_of_a_whole_processor_are_read_too(tmp_path):
    folder = make_encoder(tmp_path / "whisper", "whisper")
    before = resolve(str(folder)).load(nothing).frames([speech(5_000)], [2])[0][2]
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": settings}))
    after = resolve(str(folder)).load(nothing).frames([speech(5_000)], [2])[0][2]
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("kind", "setting", "told"),
    [
        ("whisper", {"feature_size": 128}, "128 mel bins, the model takes 80"),
        ("whisper", {"chunk_length": 30}, "480000 samples a window, the model takes 32000"),
        ("w2v-bert", {"num_mel_bins": 40}, "stacks 2 frames of 40 mel bins, the model takes 2 of 80"),
    ],
)
def test_a_preprocessor_of_another_checkpoint_is_refused(tmp_path, kind, setting, told):
    file = make_encoder(tmp_path / kind, kind) / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | setting))
    with pytest.raises(UserError, match=told):
        resolve(str(tmp_path / kind))


def test_an_unsupported_kind_is_told_which_are_supported(hubert):
    (hubert / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError) as error:
        resolve(str(hubert))
    assert "its model_type is 'bert'" in str(error.value)
    assert all(model_type in str(error.value) for model_type in FAMILIES)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hidden_size": "many"}, "hidden_size of its config.json is 'many', expected a positive whole number"),
        ({"num_hidden_layers": 0}, "num_hidden_layers of its config.json is 0, expected"),
        ({"hidden_act": 3}, "config.json of the checkpoint .* is not valid"),
        ({"intermediate_size": 64}, "or has them in another size, such as encoder.layers.0.feed_forward"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_before_any_frame(hubert, change, told):
    file = hubert / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=told):
        resolve(str(hubert)).load(nothing)
