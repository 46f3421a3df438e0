"""Checkpoints of the hub: whatever keeps one from being used is told before any work starts, with what to do about it."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from decoder_material import ASKED, examples, make_checkpoint, speech_spec
from encoder_material import nothing
from hub_server import Hub, Repository, serving
from safetensors.torch import load_file
from tiny_models import make_encoder

from orchestrator import checkpoints
from orchestrator import hub as hub_client
from orchestrator.decoders import PRESETS, HfDecoderConfig, HfSpec, SpeechLM, answer, memory, published
from orchestrator.encoders.checkpoint_encoder import configuration
from orchestrator.encoders.hf import resolve as encoder
from orchestrator.errors import StageError, UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("lm"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, as HF_HOME would name one."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    return tmp_path / "hub"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub at hand, as HF_ENDPOINT would name one."""
    with serving() as served:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.url)
        template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield served


@pytest.fixture
def offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No network, and an empty cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return cache


def cached(cache: Path, checkpoint: str, folder: Path, without: tuple[str, ...] = ()) -> str:
    """Lays a folder into the cache as the hub's client does, and returns its commit."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = cache / f"models--{checkpoint.replace('/', '--')}"
    snapshot = place / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for path in folder.iterdir():
        if path.name not in without:
            shutil.copy(path, snapshot / path.name)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    return commit


def copy(folder: Path, to: Path, *without: str) -> Path:
    shutil.copytree(folder, to)
    for name in without:
        (to / name).unlink()
    return to


def config(checkpoint: str, **settings) -> HfDecoderConfig:
    return HfDecoderConfig(checkpoint=checkpoint, **settings)


def test_a_checkpoint_is_found_without_its_weights_and_loaded_with_them(hub: Hub, folder: Path, cache: Path):
    hub.repositories["org/open"] = Repository(folder)
    spec = config("org/open").spec()
    assert checkpoints.commit_in(spec.content) == hub.repositories["org/open"].commit
    assert not any(line.startswith("GET") and "safetensors" in line for line in hub.asked)
    lm, text = spec.load(ASKED, [], 0)
    assert any(line.startswith("GET") and "model.safetensors" in line for line in hub.asked)
    expected = load_file(folder / "model.safetensors")
    assert all(torch.equal(value, lm.state_dict()[name]) for name, value in expected.items())
    assert text.prompts[0].prefix
    asked = len(hub.asked)
    assert config("org/open").spec() == spec
    assert len(hub.asked) == asked  # what is in the cache is not asked for again


def test_an_encoder_comes_with_the_settings_of_its_waveforms(hub: Hub, tmp_path: Path):
    """They lie in a file beside its configuration, which the hub gives as well."""
    local = make_encoder(tmp_path / "hubert", normalise=False)
    hub.repositories["org/hubert"] = Repository(local)
    found, expected = encoder("org/hubert"), encoder(str(local))
    assert (found.normalise, found.shape) == (expected.normalise, expected.shape) == (False, expected.shape)


@pytest.mark.parametrize(("status", "who"), [(401, "nobody is logged in here"), (403, "has no access yet")])
def test_a_checkpoint_with_a_licence_says_where_to_accept_it_and_how_to_log_in(status, who, hub: Hub, folder: Path):
    hub.repositories["meta-llama/Llama-3.1-8B"] = Repository(folder, refuses=status)
    for decoder in (config("meta-llama/Llama-3.1-8B"), PRESETS["llama3.1-8b"]):
        with pytest.raises(UserError) as caught:
            decoder.spec()
        for part in ("accepted its licence", who, f"{hub.url}/meta-llama/Llama-3.1-8B", "hf auth login"):
            assert part in str(caught.value)


def test_a_licence_is_asked_for_even_where_the_configuration_is_in_the_cache(hub: Hub, folder: Path, cache: Path):
    commit = cached(cache, "org/gated", folder, without=("model.safetensors",))
    hub.repositories["org/gated"] = Repository(folder, refuses=401, commit=commit)
    with pytest.raises(UserError, match="accepted its licence"):
        config("org/gated").spec()


def test_an_id_that_does_not_exist_says_where_to_look(hub: Hub):
    with pytest.raises(UserError, match=r"no checkpoint 'Qwen/Qwen1\.6-0\.5B' on the hub, or it is private"):
        config("Qwen/Qwen1.6-0.5B").spec()


def test_a_revision_that_does_not_exist_is_named(hub: Hub, folder: Path):
    hub.repositories["org/open"] = Repository(folder)
    with pytest.raises(UserError, match="no revision 'v9'"):
        config("org/open", revision="v9").spec()


def test_a_repository_without_a_model_is_none(hub: Hub, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    hub.repositories["org/empty"] = Repository(tmp_path / "empty")
    with pytest.raises(UserError, match=r"has no config\.json"):
        config("org/empty").spec()


def test_a_hub_that_does_not_answer_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"can't be reached: .*hf download org/far"):
        config("org/far").spec()


def test_a_checkpoint_that_is_in_the_cache_needs_no_network(offline: Path, folder: Path):
    commit = cached(offline, "org/mine", folder)
    spec = config("org/mine").spec()
    assert checkpoints.commit_in(spec.content) == commit
    model = SpeechLM.create(spec, speech_spec("discrete"), ASKED, [], 0)
    assert len(answer(model, examples(2, 1, "discrete"), max_new_tokens=3)) == 2


def test_a_checkpoint_that_is_not_in_the_cache_says_so_and_what_to_do(offline: Path):
    with pytest.raises(UserError) as caught:
        PRESETS["qwen1.5-0.5b"].spec()
    for part in ("Qwen/Qwen1.5-0.5B", str(offline), "stay offline", "hf download Qwen/Qwen1.5-0.5B", "local copy"):
        assert part in str(caught.value)


def test_a_configuration_without_its_weights_is_told_before_any_work(offline: Path, folder: Path):
    cached(offline, "org/half", folder, without=("model.safetensors",))
    with pytest.raises(
        UserError, match=r"doesn't hold the weights of .*'org/half'.*stay offline.*hf download org/half"
    ):
        config("org/half").spec()


def test_shards_of_which_one_is_missing_are_no_weights(offline: Path, folder: Path, tmp_path: Path):
    half = copy(folder, tmp_path / "half")
    (half / "model.safetensors").rename(half / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (half / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    cached(offline, "org/half", half)
    with pytest.raises(UserError, match="doesn't hold the weights"):
        config("org/half").spec()


def test_an_index_that_names_files_elsewhere_is_refused(folder: Path, tmp_path: Path):
    odd = copy(folder, tmp_path / "odd", "model.safetensors")
    (odd / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../lm/model.safetensors"}}))
    with pytest.raises(UserError, match="not beside it"):
        checkpoints.locate(str(odd))


@pytest.mark.parametrize("where", ["folder", "cache"])
def test_a_decoder_without_its_tokenizer_is_none(where: str, offline: Path, folder: Path, tmp_path: Path):
    half = copy(folder, tmp_path / "half", "tokenizer.json")
    checkpoint = str(half)
    if where == "cache":
        cached(offline, checkpoint := "org/half", half)
    with pytest.raises(UserError, match=r"has no tokenizer. Expected one of tokenizer\.json"):
        config(checkpoint).spec()


def test_a_commit_that_does_not_exist_is_named(hub: Hub, folder: Path):
    hub.repositories["org/open"] = Repository(folder)
    with pytest.raises(UserError, match="no revision 'fffff"):
        config("org/open", revision="f" * 40).spec()


# A cache that holds a part


TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@pytest.mark.parametrize("without", [TOKENIZER, ("chat_template.jinja",)], ids=["tokenizer", "template"])
def test_what_a_partly_filled_cache_lacks_comes_from_the_hub(without: tuple, hub: Hub, folder: Path, cache: Path):
    """As AutoModel.from_pretrained leaves it, or a client that knew of no templates in files of their own."""
    assert all((folder / name).is_file() for name in TOKENIZER)
    commit = cached(cache, "org/part", folder, without)
    hub.repositories["org/part"] = Repository(folder, commit=commit)
    spec = config("org/part").spec()
    _, text = spec.load(ASKED, [], 0)
    assert text.prompts == config(str(folder)).spec().load(ASKED, [], 0)[1].prompts
    assert not any("model.safetensors" in line for line in hub.asked if line.startswith("GET"))
    asked = len(hub.asked)
    assert config("org/part").spec() == spec
    assert len(hub.asked) == asked  # nor is the hub asked twice for what it doesn't have


def test_another_prompt_is_another_decoder_at_the_same_commit(offline: Path, folder: Path):
    cached(offline, "org/whole", folder)
    commit = cached(offline, "org/part", folder, without=("chat_template.jinja",))
    whole, part = (config(name).spec() for name in ("org/whole", "org/part"))
    assert checkpoints.commit_in(whole.content) == checkpoints.commit_in(part.content) == commit
    assert whole.load(ASKED, [], 0)[1].prompts != part.load(ASKED, [], 0)[1].prompts
    assert whole.content != part.content


def test_a_machine_that_lacks_a_file_of_the_prompt_says_so_and_does_not_go_on(offline: Path, folder: Path):
    commit = cached(offline, "org/whole", folder)
    spec = config("org/whole").spec()
    (offline / "models--org--whole" / "snapshots" / commit / "chat_template.jinja").unlink()
    with pytest.raises(StageError, match=r"other configuration files of 'org/whole'.*hf download org/whole"):
        spec.load(ASKED, [], 0)


@pytest.mark.parametrize("state", ["gone", "gated", "silent"])
def test_a_cache_is_enough_where_the_hub_gives_nothing(
    state: str, hub: Hub, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    commit = cached(cache, "org/mine", folder)
    if state == "gated":
        hub.repositories["org/mine"] = Repository(folder, refuses=401, commit=commit)
    elif state == "silent":
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{filename}")
    assert config("org/mine").spec().load(ASKED, [], 0)[1].prompts[0].prefix
    asked = [one for one in hub.asked if "org/mine" in one]
    assert len(asked) <= 2, "once for the spec and once to load, not for each file that isn't there"


# What can't be read


def test_an_id_that_no_checkpoint_can_have_is_told_wherever_it_is_asked_for(tmp_path: Path):
    gone = str(tmp_path / "gone")
    for ask in (hub_client.in_cache, hub_client.downloading, hub_client.completing, hub_client.names):
        with pytest.raises(UserError, match="no hub id can look like that"):
            ask(gone, "main")
    for ask in (hub_client.gives, hub_client.commit_of):
        with pytest.raises(UserError, match="no hub id can look like that"):
            ask(gone, "main", "config.json")
    with pytest.raises(UserError, match="is no folder, and no hub id"):
        published.configuration(HfSpec(checkpoint=gone, content="c"))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": {"a": 1}}']
)
@pytest.mark.parametrize("where", ["folder", "cache"])
def test_a_torn_index_of_weights_is_told(where: str, text: str, offline: Path, folder: Path, tmp_path: Path):
    torn = copy(folder, tmp_path / "torn", "model.safetensors")
    (torn / "model.safetensors.index.json").write_text(text)
    checkpoint = str(torn)
    if where == "cache":
        cached(offline, checkpoint := "org/torn", torn)
    with pytest.raises(UserError, match=r"index.json can't be read .*Copy the checkpoint again"):
        config(checkpoint).spec()


def test_a_torn_configuration_is_told_by_an_estimate(folder: Path, tmp_path: Path):
    spec = config(str(copy(folder, tmp_path / "torn"))).spec()
    (tmp_path / "torn" / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json of the checkpoint .* is not JSON"):
        published.configuration(spec)


# Formats


@pytest.mark.parametrize("name", ["tf_model.h5", "flax_model.msgpack", "model.ckpt", "weights.pkl"])
@pytest.mark.parametrize("where", ["folder", "hub", "cache"])
def test_weights_in_other_formats_are_refused(where: str, name: str, hub: Hub, cache, folder, tmp_path, monkeypatch):
    other = copy(folder, tmp_path / "other", "model.safetensors")
    (other / name).write_bytes(b"weights")
    checkpoint = str(other)
    if where == "hub":
        hub.repositories["org/other"] = Repository(other)
        checkpoint = "org/other"
    elif where == "cache":
        cached(cache, "org/other", other)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        checkpoint = "org/other"
    with pytest.raises(UserError, match=rf"It has {name}: such files are not read.*save_pretrained"):
        config(checkpoint).spec()


def test_weights_that_only_exist_as_bin_are_read_at_their_commit(hub: Hub, folder: Path, tmp_path: Path):
    old = copy(folder, tmp_path / "old", "model.safetensors")
    torch.save(load_file(folder / "model.safetensors"), old / "pytorch_model.bin")
    hub.repositories["org/old"] = Repository(old)
    spec = config("org/old").spec()
    assert checkpoints.commit_in(spec.content) == hub.repositories["org/old"].commit
    lm, _ = spec.load(ASKED, [], 0)
    expected = load_file(folder / "model.safetensors")
    assert all(torch.equal(value, lm.state_dict()[name]) for name, value in expected.items())
    assert all(hub.repositories["org/old"].commit in line for line in hub.asked if "pytorch_model.bin" in line)


class _Code:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_a_bin_file_that_would_run_code_is_refused_and_runs_none(folder: Path, tmp_path: Path):
    evil = copy(folder, tmp_path / "evil", "model.safetensors")
    torch.save({"lm_head.weight": _Code(tmp_path / "ran")}, evil / "pytorch_model.bin", pickle_module=pickle)
    spec = config(str(evil)).spec()
    with pytest.raises(StageError, match="can't be loaded as a causal LM"):
        spec.load(ASKED, [], 0)
    assert not (tmp_path / "ran").exists()


# Presets


def test_every_preset_names_a_checkpoint_of_the_hub_and_large_ones_fit_on_a_gpu():
    for name, preset in PRESETS.items():
        assert preset.checkpoint.count("/") == 1
        size = float(name.rpartition("-")[2].removesuffix("b").removesuffix("m")) / (1000 if name.endswith("m") else 1)
        is_large = size >= 3
        assert (preset.lora is not None, preset.dtype == "bfloat16", preset.gradient_checkpointing) == (is_large,) * 3
    assert PRESETS["qwen1.5-0.5b"].lora is None and PRESETS["llama3.1-8b"].lora is not None


# Code of a checkpoint


def says_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone who agrees to whatever transformers asks for."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))
    monkeypatch.setattr("builtins.input", lambda *_: "y")


def with_code(folder: Path, marker: Path, model_type: str) -> Path:
    """A checkpoint that names classes of its own, in a module that leaves a mark when it is run."""
    code = f"from pathlib import Path\nPath({str(marker)!r}).touch()\nclass Evil: ...\n"
    (folder / "evil.py").write_text(code)
    classes = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoTokenizer", "AutoFeatureExtractor")
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        file = folder / name
        values = json.loads(file.read_text()) if file.exists() else {}
        values |= {"auto_map": {c: ["evil.Evil", None] if c == "AutoTokenizer" else "evil.Evil" for c in classes}}
        file.write_text(json.dumps(values | ({"model_type": model_type} if name == "config.json" else {})))
    return folder


@pytest.mark.parametrize("settings", [{}, {"lora": {"targets": ["q_proj"]}}], ids=["all", "lora"])
@pytest.mark.parametrize("model_type", ["evil", "hubert"])  # nobody knows it; no decoder is known for it
def test_a_decoder_that_brings_its_code_is_refused_and_the_code_not_run(
    model_type: str, settings: dict, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    says_yes(monkeypatch)
    evil = with_code(copy(folder, tmp_path / "evil"), tmp_path / "ran", model_type)
    with pytest.raises(UserError, match="as a causal LM"):
        config(str(evil), **settings).spec().load(ASKED, [], 0)
    assert not (tmp_path / "ran").exists()


def test_an_estimate_runs_no_code_of_a_checkpoint(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    says_yes(monkeypatch)
    spec = config(str(with_code(copy(folder, tmp_path / "evil"), tmp_path / "ran", "hubert"))).spec()
    with pytest.raises(ValueError, match="custom code"):
        memory._model(published.configuration(spec), spec, speech_spec("discrete"))
    assert not (tmp_path / "ran").exists()


def test_an_encoder_of_an_unknown_kind_is_refused_and_its_code_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    says_yes(monkeypatch)
    good = encoder(str(make_encoder(tmp_path / "good")))
    evil = with_code(make_encoder(tmp_path / "evil"), tmp_path / "ran", "evil")
    with pytest.raises(UserError, match="its model_type is 'evil'"):
        encoder(str(evil))
    with pytest.raises(StageError, match="is not valid"):
        configuration(good, evil)
    assert not (tmp_path / "ran").exists()


def test_an_encoder_of_a_known_kind_is_loaded_without_the_code_it_brings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    says_yes(monkeypatch)
    encoder(str(with_code(make_encoder(tmp_path / "evil"), tmp_path / "ran", "hubert"))).load(nothing)
    assert not (tmp_path / "ran").exists()
