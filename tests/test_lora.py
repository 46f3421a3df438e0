"""What is trained of a decoder, saved and read again: all of it or LoRA, speech in its own table or the decoder's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from decoder_material import ASKED, WORDS, examples, make_checkpoint, speech_spec
from pydantic import ValidationError
from safetensors.torch import load_file

from orchestrator.decoders import HfDecoderConfig, Recipe, SpeechLM, TinySpec, answer, decoding, load, save, train
from orchestrator.decoders.batches import collate, prepare
from orchestrator.decoders.beams import _search
from orchestrator.decoders.cost import training_flops
from orchestrator.errors import StageError, UserError
from orchestrator.stage import canonical

RECIPE = Recipe(batch=8, learning_rate=3e-3, warmup_steps=2, max_epochs=3, patience=100, averaging=0.9)
LORA = {"rank": 4, "alpha": 8}
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"lora": LORA},
    "full-vocabulary": {"speech_tokens": "vocabulary"},
    "lora-vocabulary": {"lora": LORA, "speech_tokens": "vocabulary"},
    "lora-bfloat16": {"lora": LORA, "dtype": "bfloat16", "gradient_checkpointing": True},
}
FAMILIES = ("llama", "gpt2")
"""One with an output layer of its own, one whose output layer is its table."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: make_checkpoint(tmp_path_factory.mktemp(family), family=family) for family in FAMILIES}


def make(folder: Path, variant: str = "lora", kind: str = "discrete", seed: int = 0, **settings: Any) -> SpeechLM:
    spec = HfDecoderConfig(checkpoint=str(folder), **VARIANTS[variant] | settings).spec()
    return SpeechLM.create(spec, speech_spec(kind), ASKED, [], seed)


def fit(model: SpeechLM, recipe: Recipe = RECIPE, kind: str = "discrete", **options: Any):
    return train(model, examples(30, 1, kind), examples(10, 2, kind), recipe, 0, **options)


def batch_of(model: SpeechLM, kind: str = "discrete", seed: int = 2):
    made = prepare(examples(5, seed, kind), model.speech, model.text, model.longest, answered=True)
    return collate(made, model.speech)


def weights(model: SpeechLM) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_trained_changes_and_is_read_again_to_the_same_outputs(variant: str, family: str, folders, tmp_path):
    model = make(folders[family], variant)
    before, trained = weights(model), set(model.trained)
    result = fit(model, replace(RECIPE, dtype="bfloat16") if variant == "lora-bfloat16" else RECIPE)
    assert result.curve[-1]["dev_loss"] < result.curve[0]["dev_loss"]
    after = weights(model)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    # The rows that no text and no speech ever names still are in the softmax, so everything that is trained moves.
    assert changed == trained
    assert result.trained_parameters == sum(before[name].numel() for name in trained)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert weights(again).keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in weights(again).items())
    batch = batch_of(model)
    with torch.no_grad():
        assert torch.equal(model(batch), again(batch))
    asked = examples(6, 5, "discrete")
    for labels in (None, WORDS):
        assert (answers := answer(again, asked, labels, 6)) == answer(model, asked, labels, 6)
        if model.lm.dtype == torch.float32:  # shorter numbers round otherwise in batches of another size
            assert answers == [answer(model, [e], labels, 6)[0] for e in asked]


@pytest.mark.parametrize("kind", ["continuous", "discrete", "none"])
def test_with_lora_the_updates_and_the_front_end_are_trained_and_saved_and_nothing_else(kind: str, folders, tmp_path):
    model = make(folders["llama"], "lora", kind)
    assert all("lora_" in name or name.startswith("front.") for name in model.trained)
    assert any(name.startswith("front.") for name in model.trained) == (kind != "none")
    save(model, tmp_path / "model")
    assert load_file(tmp_path / "model" / "weights.safetensors").keys() == model.trained.keys()
    assert not (tmp_path / "model" / "config.json").exists()


@pytest.mark.parametrize("variant", ["lora", "lora-bfloat16", "lora-vocabulary", "full-vocabulary"])
def test_a_resumed_training_equals_an_uninterrupted_one(variant: str, folders, tmp_path: Path):
    settings = {"lora": LORA | {"dropout": 0.1}} if variant.startswith("lora") else {}
    recipe = replace(RECIPE, evaluate_every=0.5, max_epochs=2)
    model = make(folders["llama"], variant, **settings)
    result = fit(model, recipe)
    calls = iter(range(100))

    def interrupt(done: float, total: float, unit: str) -> None:
        if next(calls) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(make(folders["llama"], variant, **settings), recipe, checkpoint=tmp_path, progress=interrupt)
    [file] = tmp_path.iterdir()
    kept = {name.split(".", 1)[1] for name in load_file(file) if name.startswith(("weights.", "best.", "average."))}
    assert kept == set(model.trained)
    again = make(folders["llama"], variant, **settings)
    resumed = fit(again, recipe, checkpoint=tmp_path)
    assert [row["dev_loss"] for row in resumed.curve] == [row["dev_loss"] for row in result.curve]
    assert all(torch.equal(value, weights(model)[name]) for name, value in weights(again).items())


def test_lora_changes_nothing_at_first_and_is_the_same_in_every_arm(folders):
    plain, lora = make(folders["llama"], "full").eval(), make(folders["llama"], "lora").eval()
    batch = batch_of(plain)
    with torch.no_grad():
        assert torch.allclose(plain(batch), lora(batch), atol=1e-5)
    first = {kind: make(folders["llama"], "lora", kind).lm.state_dict() for kind in ("continuous", "discrete", "none")}
    for other in first.values():
        assert all(torch.equal(value, other[name]) for name, value in first["none"].items())
    seeded = make(folders["llama"], "lora", seed=1).lm.state_dict()
    assert not all(torch.equal(value, seeded[name]) for name, value in first["none"].items())


def test_frozen_weights_may_be_half_as_long_while_what_is_trained_is_not(folders):
    model = make(folders["llama"], "lora-bfloat16", "continuous")
    assert {weight.dtype for weight in model.trained.values()} == {torch.float32}
    assert {w.dtype for w in model.parameters() if not w.requires_grad} == {torch.bfloat16}
    assert model.front.mean.dtype == torch.float32


@pytest.mark.parametrize("variant", ["full", "lora"])
def test_activations_computed_again_change_no_gradient(variant: str, folders):
    gradients = []
    for again in (False, True):
        model = make(folders["llama"], variant, "continuous", gradient_checkpointing=again)
        assert model.lm.is_activation_checkpointing == again
        model.train()
        model(batch_of(model, "continuous")).logsumexp(-1).sum().backward()
        gradients.append({name: weight.grad for name, weight in model.trained.items()})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(value, gradients[1][name], atol=1e-6) for name, value in gradients[0].items())
    configs = [HfDecoderConfig(checkpoint=str(folders["llama"]), gradient_checkpointing=c) for c in (False, True)]
    assert canonical(configs[0].spec()) == canonical(configs[1].spec())


# Speech in the decoder's own vocabulary


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", ["full-vocabulary", "lora-vocabulary"])
def test_speech_in_the_vocabulary_is_rows_of_the_decoders_own_tables(variant: str, family: str, folders):
    """The logits equal those of the enlarged decoder asked with token ids alone."""
    model = make(folders[family], variant).eval()
    entrance, exit = model.lm.get_input_embeddings(), model.lm.get_output_embeddings()
    known, tokens = model.vocabulary, model.speech.tokens
    assert len(entrance.weight) == len(exit.weight) == model.lm.config.vocab_size
    assert len(entrance.weight) % 64 == 0 and 0 <= len(entrance.weight) - known - tokens < 64
    if model.front is not None:  # what is trained beside the frozen tables belongs into them
        with torch.no_grad():
            entrance.weight[known : known + tokens] = model.front.input
            if model.front.output is not None:
                exit.weight[known : known + tokens] = model.front.output
    [utterance] = prepare(examples(1, 2, "discrete"), model.speech, model.text, model.longest, answered=True)
    prompt = utterance.prompt
    ids = [*prompt.prefix, *(utterance.speech + known), *prompt.suffix, *utterance.answer[:-1]]
    with torch.no_grad():
        expected = model.lm(input_ids=torch.tensor([ids])).logits[0, -len(utterance.answer) :]
        assert torch.allclose(model(collate([utterance], model.speech)), expected, atol=1e-5)
    speech, text = entrance.weight[known : known + tokens], entrance.weight[:known]
    assert 0.7 < (speech.std() / text.std()).item() < 1.5


@pytest.mark.parametrize("decoder", ["full-vocabulary", "lora-vocabulary", "tiny"])
def test_no_answer_is_speech_however_probable_it_is(decoder: str, folders):
    if decoder == "tiny":
        spec = TinySpec(hidden=32, layers=2, heads=2, kv_heads=1, intermediate=48, speech_tokens="vocabulary")
        model = SpeechLM.create(spec, speech_spec("discrete"), ASKED, [e.target for e in examples(30, 1)], 0)
    else:
        model = make(folders["llama"], decoder)
    asked = prepare(examples(6, 5, "discrete"), model.speech, model.text, model.longest, answered=False)
    expected = decoding._greedy(model, asked, None, 5)

    def prefer_speech(layer, inputs, logits):
        return torch.cat([logits[..., : model.vocabulary], logits[..., model.vocabulary :] + 50], -1)

    model.lm.get_output_embeddings().register_forward_hook(prefer_speech)
    assert model(batch_of(model)).argmax(-1).min() >= model.vocabulary  # the loss sees them
    with torch.inference_mode():
        greedy = decoding._greedy(model, asked, None, 5)
        searched = _search(model, asked, 3, 5)
    assert greedy == expected  # what speech gets changes no choice between texts
    assert all(0 <= token < model.vocabulary for tokens in searched for token in tokens)


def test_speech_in_the_vocabulary_is_for_tokens(folders):
    with pytest.raises(UserError, match="speech_tokens: vocabulary, which is for discrete features; continuous"):
        make(folders["llama"], "full-vocabulary", "continuous")
    assert make(folders["llama"], "full-vocabulary", "none").front is None


# Bad input


@pytest.mark.parametrize(("family", "near"), [("llama", "did you mean 'q_proj'"), ("gpt2", "c_attn")])
def test_a_lora_target_that_matches_nothing_names_the_layers_there_are(family: str, near: str, folders):
    """Before any work, from its configuration alone."""
    config = HfDecoderConfig(checkpoint=str(folders[family]), lora=LORA | {"targets": ["q_porj"]})
    with pytest.raises(UserError, match=f"'q_porj'.*match no linear layer; .*{near}"):
        config.spec()


def test_lora_targets_are_layers_by_name(folders):
    model = make(folders["llama"], lora=LORA | {"targets": ["q_proj", "mlp.up_proj"]})
    assert {name.split(".")[-4] for name in model.trained if "lora_" in name} == {"q_proj", "up_proj"}
    assert len([name for name in model.trained if "lora_" in name]) == 2 * 2 * 2


@pytest.mark.parametrize("lora", [{"rank": 0}, {"ranks": 4}, {"targets": []}, {"dropout": 1.0}, {"targets": "all"}])
def test_settings_of_lora_are_checked(lora: dict[str, Any]):
    with pytest.raises(ValidationError):
        HfDecoderConfig(checkpoint="a/b", lora=lora)


def test_a_model_with_frozen_weights_needs_its_own_checkpoint_wherever_that_lies(tmp_path: Path):
    folder = make_checkpoint(tmp_path / "lm")
    model = make(folder).eval()
    save(model, tmp_path / "model")
    moved = folder.rename(tmp_path / "moved")
    spec = HfDecoderConfig(checkpoint=str(moved), lora=LORA).spec()
    assert spec == model.decoder
    batch = batch_of(model)
    assert torch.equal(load(tmp_path / "model", decoder=spec)(batch), model(batch))
    with pytest.raises(StageError, match=r"differs in lora"):
        load(tmp_path / "model", decoder=replace(spec, lora=None))
    make_checkpoint(folder, seed=1)
    with pytest.raises(StageError, match="have changed"):
        load(tmp_path / "model")


def test_a_training_with_frozen_weights_costs_less_and_counts_what_it_trains(folders):
    whole, lora = make(folders["llama"], "full"), make(folders["llama"], "lora")
    assert 0.6 < training_flops(lora, 1000, 0, 0) / training_flops(whole, 1000, 0, 0) < 1
    assert sum(w.numel() for w in lora.trained.values()) < lora.parameters_count / 2
