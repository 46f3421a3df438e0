"""Prompts: templates with a place for the speech, and paraphrases that training varies."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from decoder_material import ASKED, examples, make_checkpoint, speech_spec
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decoders import HfDecoderConfig, Recipe, SpeechLM, TinySpec, check_template, load, save, train
from orchestrator.decoders.batches import collate, prepare
from orchestrator.decoders.hf import _render
from orchestrator.errors import StageError, UserError

PARAPHRASES = ("Write.\n{speech}", "{speech}\nWhat is said here?", "Listen: {speech} Now write it down.")
RECIPE = Recipe(batch=8, learning_rate=3e-3, warmup_steps=2, max_epochs=2, patience=100, evaluate_every=0.5)
TINY = TinySpec(hidden=32, layers=2, heads=2, kv_heads=1, intermediate=48, text_vocabulary=280)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("lm"))


def make(folder: Path, templates: tuple[str, ...] = PARAPHRASES, kind: str = "discrete") -> SpeechLM:
    return SpeechLM.create(HfDecoderConfig(checkpoint=str(folder)).spec(), speech_spec(kind), templates, [], 0)


def ready(model: SpeechLM, seed: int | None, count: int = 60):
    made = examples(count, 1, "discrete")
    return prepare(made, model.speech, model.text, model.longest, answered=True, seed=seed)


@given(st.text(), st.text())
def test_a_template_names_the_place_of_the_speech_once(before: str, after: str):
    text = (before + after).replace("{speech}", "")
    with pytest.raises(UserError, match="exactly once"):
        check_template(text)
    half = len(text) // 2
    check_template(text[:half] + "{speech}" + text[half:])
    with pytest.raises(UserError, match="stands there 2 times"):
        check_template(text[:half] + "{speech}{speech}" + text[half:])


def test_a_misspelt_placeholder_is_named():
    with pytest.raises(UserError, match=r"\{audio\} does"):
        check_template("Transcribe {audio}")


def test_no_model_is_made_with_a_wrong_template(folder: Path):
    for decoder in (TINY, HfDecoderConfig(checkpoint=str(folder)).spec()):
        with pytest.raises(UserError, match="exactly once"):
            SpeechLM.create(decoder, speech_spec("discrete"), (*ASKED, "Write."), ["a"], 0)
        with pytest.raises(StageError, match="at least one prompt template"):
            SpeechLM.create(decoder, speech_spec("discrete"), (), ["a"], 0)


def test_a_template_is_rendered_around_the_speech_within_the_chat(folder: Path, tmp_path: Path):
    spec = HfDecoderConfig(checkpoint=str(folder)).spec()
    prompt = _render(spec._tokenizer(folder), PARAPHRASES[2])
    assert prompt.prefix == "<|im_start|>user\nListen: "
    assert prompt.suffix == " Now write it down.<|im_end|>\n<|im_start|>assistant\n"
    plain = _render(spec._tokenizer(make_checkpoint(tmp_path, template=False)), PARAPHRASES[2])
    assert (plain.prefix, plain.suffix) == ("Listen: ", " Now write it down.\n")


def test_training_varies_the_paraphrases_and_dev_and_test_have_the_first(folder: Path):
    model = make(folder)
    assert len(model.text.prompts) == 3
    asked = Counter(u.prompt for u in ready(model, seed=0))
    assert set(asked) == set(model.text.prompts) and min(asked.values()) > 8
    assert {u.prompt for u in ready(model, seed=None)} == {model.text.prompts[0]}


def test_a_paraphrase_depends_on_the_id_and_the_seed_alone(folder: Path):
    model = make(folder)
    first, again, other = ([u.prompt for u in ready(model, seed)] for seed in (0, 0, 1))
    assert first == again != other
    made = examples(60, 1, "discrete")[::-1]
    reversed_ = prepare(made, model.speech, model.text, model.longest, answered=True, seed=0)
    assert [u.prompt for u in reversed_] == first[::-1]


def test_every_arm_asks_an_utterance_alike(folder: Path):
    """However the arms differ in their speech, an utterance has the same paraphrase in all of them."""
    asked = []
    for kind in ("continuous", "discrete", "none"):
        model = make(folder, kind=kind)
        made = prepare(examples(30, 1, kind), model.speech, model.text, model.longest, answered=True, seed=0)
        asked.append([u.prompt for u in made])
    assert asked[0] == asked[1] == asked[2]


def test_a_batch_of_paraphrases_gives_each_utterance_the_logits_that_it_has_alone(folder: Path):
    model = make(folder).eval()
    utterances = ready(model, seed=0, count=12)
    assert len({u.prompt for u in utterances}) == 3
    with torch.no_grad():
        together = model(collate(utterances, model.speech))
        alone = torch.cat([model(collate([u], model.speech)) for u in utterances])
    assert torch.allclose(together, alone, atol=1e-4, rtol=1e-4)
    for utterance in utterances:
        batch = collate([utterance], model.speech)
        prompt, read = utterance.prompt, utterance.answer[:-1].tolist()
        tokens = [*prompt.prefix, *prompt.suffix, *read]
        assert batch.text.tolist() == tokens and utterance.length == len(tokens) + utterance.positions


def test_a_resumed_training_with_paraphrases_equals_an_uninterrupted_one(folder: Path, tmp_path: Path):
    def fit(model: SpeechLM, **options):
        return train(model, examples(30, 1, "discrete"), examples(10, 2, "discrete"), RECIPE, 0, **options)

    calls = iter(range(100))

    def interrupt(done: float, total: float, unit: str) -> None:
        if next(calls) == 3:
            raise KeyboardInterrupt

    model, again = make(folder), make(folder)
    result = fit(model)
    with pytest.raises(KeyboardInterrupt):
        fit(make(folder), checkpoint=tmp_path / "checkpoint", progress=interrupt)
    resumed = fit(again, checkpoint=tmp_path / "checkpoint")
    assert [row["dev_loss"] for row in resumed.curve] == [row["dev_loss"] for row in result.curve]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    plain = make(folder, ASKED)
    assert fit(plain).curve != result.curve
    save(model, tmp_path / "model")
    assert load(tmp_path / "model").text.prompts == model.text.prompts


def test_a_decoder_from_scratch_spends_one_position_on_any_template():
    models = [SpeechLM.create(TINY, speech_spec("discrete"), t, ["a", "b"], 0) for t in (ASKED, PARAPHRASES)]
    for model in models:
        [prompt] = model.text.prompts
        assert (len(prompt.prefix), len(prompt.suffix)) == (1, 1)
    assert replace(models[0].text, tokenizer=models[1].text.tokenizer) == models[1].text
