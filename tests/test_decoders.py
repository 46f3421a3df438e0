"""Decoders: text, layout, front ends, answers, files. Trained or not, the invariants are the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from decoder_material import ASKED, DIMENSION, WORDS, examples, make_checkpoint, speech_spec
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.decoders import (
    DECODERS,
    DecoderSpec,
    Example,
    HfDecoderConfig,
    Prompt,
    SpeechLM,
    SpeechSpec,
    TinyConfig,
    TinySpec,
    answer,
    load,
    save,
)
from orchestrator.decoders.batches import collate, micro_batches, order, prepare
from orchestrator.decoders.cost import training_flops
from orchestrator.decoders.hf import _render
from orchestrator.decoders.text import Text, train_text
from orchestrator.errors import StageError, UserError
from orchestrator.stage import canonical

KINDS = ("continuous", "centroids", "discrete", "none")
TINY = TinySpec(hidden=32, layers=2, heads=2, kv_heads=1, intermediate=48, text_vocabulary=280)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def make(kind: str = "continuous", decoder: DecoderSpec = TINY, seed: int = 0) -> SpeechLM:
    targets = [e.target for e in examples(40, 1)]
    model = SpeechLM.create(decoder, speech_spec(kind), ASKED, targets, seed).eval()
    with torch.no_grad():
        for weight in model.lm.parameters():  # first weights say the same whatever they hear; these don't
            weight.mul_(1.5)
    return model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("lm"))


TEXT = train_text(["turn on the light", "lights_on", "schalte das Licht an", "AH0 L AY1 T"] * 9, 320)


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_survives_the_tiny_tokenizer(text: str):
    [ids] = TEXT.encode([text])
    assert TEXT.decode(ids) == text
    assert TEXT.decode([*ids, TEXT.end, 5, 5]) == text
    assert not {TEXT.end, *TEXT.prompts[0].prefix, *TEXT.prompts[0].suffix} & set(ids)


@pytest.mark.parametrize("text", ["", " x", "  ", "a\n\tb ", "開燈 ü😀\x00", "<|im_end|>", "[PAD]"])
def test_odd_text_survives_every_tokenizer(text: str, checkpoint: Path):
    _, of_checkpoint = HfDecoderConfig(checkpoint=str(checkpoint)).spec().load(ASKED, [], 0)
    for tokenizer in (TEXT, of_checkpoint):
        [ids] = tokenizer.encode([text])
        assert tokenizer.decode(ids) == text
        assert tokenizer.end not in ids


def test_words_and_labels_of_the_training_split_are_single_tokens():
    assert [len(ids) for ids in TEXT.encode(["light", "turn on the light", "lights_on"])] == [1, 4, 1]


def test_the_text_vocabulary_depends_on_the_set_of_targets_alone():
    targets = [e.target for e in examples(50, 3)]
    one, other = train_text(targets, 300), train_text(targets[::-1], 300)
    assert one.tokenizer.to_str() == other.tokenizer.to_str()


@given(st.lists(st.integers(1, 90), min_size=1, max_size=40), st.integers(1, 400))
@settings(max_examples=100, deadline=None)
def test_micro_batches_hold_every_sequence_once_within_the_budget(lengths: list[int], tokens: int):
    groups = micro_batches(lengths, tokens)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert all(len(g) == 1 or len(g) * max(lengths[i] for i in g) <= tokens for g in groups)


@given(st.sets(st.text(max_size=5), min_size=1, max_size=30), st.integers(0, 5), st.integers(0, 5), st.randoms())
@settings(max_examples=50, deadline=None)
def test_the_order_of_an_epoch_depends_on_seed_epoch_and_ids_alone(ids, seed, epoch, chance):
    listed = sorted(ids)
    shuffled = listed.copy()
    chance.shuffle(shuffled)
    ordered = [listed[i] for i in order(listed, seed, epoch)]
    assert ordered == [shuffled[i] for i in order(shuffled, seed, epoch)]
    assert sorted(ordered) == listed


def test_epochs_and_seeds_differ_in_their_order():
    ids = [str(i) for i in range(50)]
    assert len({tuple(order(ids, seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_an_id_that_occurs_twice_is_an_error():
    with pytest.raises(StageError, match="'b' occurs twice"):
        order(["b", "a", "b"], 0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_gives_each_utterance_the_logits_that_it_has_alone(kind: str):
    model = make(kind)
    utterances = prepare(examples(7, 2, kind), model.speech, model.text, model.longest, answered=True)
    with torch.no_grad():
        together = model(collate(utterances, model.speech))
        alone = torch.cat([model(collate([u], model.speech)) for u in utterances])
    assert torch.allclose(together, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_layout_is_instruction_speech_answer(kind: str):
    """The inputs that `collate` points together equal those written out by hand, from both sides of the padding."""
    model = make(kind)
    utterances = prepare(examples(5, 2, kind), model.speech, model.text, model.longest, answered=True)
    table = model.lm.get_input_embeddings()
    for side in ("right", "left"):
        batch = collate(utterances, model.speech, side=side)
        inputs = model.embed(batch)
        assert not inputs[~batch.real].any()
        for row, utterance in enumerate(utterances):
            parts = [table(torch.tensor(model.text.prompts[0].prefix))]
            if kind == "discrete":
                parts.append(model.front.weight[utterance.speech])
            elif kind != "none":
                frames = torch.from_numpy(utterance.speech.astype(np.float32))
                frames = torch.cat([frames, frames[-1:].expand(len(frames) % 2, -1)])
                parts.append(model.front.linear(((frames - 3) / 2).reshape(-1, 2 * DIMENSION)))
            parts += [table(torch.tensor(model.text.prompts[0].suffix)), table(torch.from_numpy(utterance.answer[:-1]))]
            expected = torch.cat(parts)
            assert len(expected) == utterance.length
            assert torch.allclose(inputs[row][batch.real[row]], expected, atol=1e-6)


def test_the_loss_is_on_the_answer_and_its_end_alone():
    model = make()
    utterances = prepare(examples(5, 2), model.speech, model.text, model.longest, answered=True)
    batch = collate(utterances, model.speech)
    assert batch.answers.tolist() == [token for u in utterances for token in u.answer]
    assert all(u.answer[-1] == model.text.end for u in utterances)
    # What predicts an answer token is the position before it: the last of the suffix for the first one.
    width = batch.rows.shape[1]
    firsts = batch.predict[np.cumsum([0] + [len(u.answer) for u in utterances[:-1]])]
    starts = [i * width + u.length - len(u.answer) for i, u in enumerate(utterances)]
    assert firsts.tolist() == starts


def test_speech_is_never_in_the_output_vocabulary():
    few, many = (SpeechLM.create(TINY, SpeechSpec(kind="discrete", tokens=n), ASKED, ["a"], 0) for n in (10, 5000))
    assert few.lm.get_output_embeddings().weight.shape == many.lm.get_output_embeddings().weight.shape


def test_every_arm_starts_from_the_same_decoder():
    models = [make(kind) for kind in KINDS]
    for model in models[1:]:
        assert all(torch.equal(a, b) for a, b in zip(models[0].lm.parameters(), model.lm.parameters(), strict=True))
        assert model.text.tokenizer.to_str() == models[0].text.tokenizer.to_str()
    assert not torch.equal(next(make(seed=1).parameters()), next(make(seed=0).parameters()))


def test_both_front_ends_start_at_the_scale_of_the_text_embeddings():
    targets = [e.target for e in examples(40, 1)]
    for kind in ("continuous", "discrete"):
        model = SpeechLM.create(TINY, speech_spec(kind), ASKED, targets, 0)
        utterances = prepare(examples(60, 2, kind), model.speech, model.text, model.longest, answered=True)
        batch = collate(utterances, model.speech)
        text, speech = model.lm.get_input_embeddings().weight, model.front(batch.speech)
        assert 0.7 < (speech.std() / text.std()).item() < 1.5, kind


def test_building_a_model_takes_nothing_from_the_callers_chance():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [None, WORDS])
def test_answers_in_batches_equal_answers_one_by_one(kind: str, labels):
    model = make(kind)
    asked = examples(12, 5, kind)
    one_by_one = [answer(model, [e], labels, max_new_tokens=9)[0] for e in asked]
    assert answer(model, asked, labels, max_new_tokens=9) == one_by_one
    assert answer(model, asked, labels, max_new_tokens=9, batch_tokens=90) == one_by_one
    assert len(set(one_by_one)) > 1 or kind == "none"


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_answers_with_a_cache_are_the_most_probable_tokens_without_one(kind: str):
    model = make(kind)
    for example in examples(4, 6, kind):
        tokens: list[int] = []
        for _ in range(6):
            utterance = prepare([example], model.speech, model.text, model.longest, answered=False)[0]
            read = np.array([*tokens, -1], np.int64)  # the last one is never read
            utterance = replace(utterance, answer=read, length=utterance.length + len(tokens))
            tokens.append(int(model(collate([utterance], model.speech))[-1].argmax()))
            if tokens[-1] == model.text.end:
                break
        assert answer(model, [example], max_new_tokens=6) == [model.text.decode(tokens)]


def test_an_answer_stops_at_its_limit():
    model = make()
    asked = examples(6, 5)
    short, long = (answer(model, asked, max_new_tokens=limit) for limit in (4, 9))
    assert all(whole.startswith(part.rstrip("\ufffd")) for part, whole in zip(short, long, strict=True))
    assert any(len(part) < len(whole) for part, whole in zip(short, long, strict=True))
    assert answer(model, asked, max_new_tokens=0) == [""] * 6


def test_a_classification_is_answered_with_a_label_and_nothing_else():
    model = make()
    labels = ["lights_on", "lights", "lights off", "ü"]  # one is the beginning of others
    assert set(answer(model, examples(30, 5), labels)) <= set(labels)
    assert answer(model, examples(3, 5), ["only"]) == ["only"] * 3


def test_no_examples_have_no_answers():
    assert answer(make(), []) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_read_from_its_files_answers_as_before(kind: str, tmp_path: Path):
    model = make(kind)
    save(model, tmp_path / "model")
    asked: list[str] = []

    def file(name: str) -> Path:
        asked.append(name)
        return tmp_path / name

    again = load(tmp_path / "model", file=file)
    assert sorted(asked) == sorted(f"model/{p.name}" for p in (tmp_path / "model").iterdir())
    utterances = prepare(examples(5, 2, kind), model.speech, model.text, model.longest, answered=True)
    batch = collate(utterances, model.speech)
    assert torch.equal(model(batch), again(batch))
    assert answer(model, examples(5, 2, kind)) == answer(again, examples(5, 2, kind))
    assert not any(p.suffix in (".bin", ".pt", ".pkl") for p in (tmp_path / "model").iterdir())


@pytest.mark.parametrize(
    ("kind", "speech", "message"),
    [
        ("discrete", np.array([1, 27]), "table of 27"),
        ("discrete", np.array([-1]), "table of 27"),
        ("discrete", np.ones((3, DIMENSION), np.float32), "expected integer tokens"),
        ("continuous", np.ones((3, 5), np.float16), r"expected frames \[T, 12\]"),
        ("continuous", np.array([1, 2]), r"expected frames \[T, 12\]"),
        ("continuous", None, "expected continuous"),
        ("none", np.array([1]), "expected none"),
    ],
)
def test_speech_of_another_kind_is_an_error_that_names_the_utterance(kind: str, speech, message: str):
    with pytest.raises(StageError, match=f"(?s)odd.*{message}"):
        answer(make(kind), [Example("odd", speech, "x")])


def test_a_sequence_longer_than_the_decoder_is_an_error():
    with pytest.raises(StageError, match="9002 positions, the decoder has 8192"):
        answer(make("discrete"), [Example("long", np.zeros(9000, int), "")])


def test_an_utterance_shorter_than_one_position_is_still_answered():
    model = make()
    assert len(answer(model, [Example("short", np.zeros((1, DIMENSION), np.float16), "")])) == 1
    assert len(answer(make("discrete"), [Example("empty", np.zeros(0, np.int64), "")])) == 1


@pytest.mark.parametrize("family", ["qwen2", "llama", "gpt2", "gemma2"])
def test_any_causal_lm_reads_and_answers_as_it_would_by_itself(family: str, tmp_path: Path):
    spec = HfDecoderConfig(checkpoint=str(make_checkpoint(tmp_path / "lm", family=family))).spec()
    model = SpeechLM.create(spec, speech_spec("discrete"), ASKED, [], 0).eval()
    utterances = prepare(examples(5, 2, "discrete"), model.speech, model.text, model.longest, answered=True)
    batch = collate(utterances, model.speech)
    with torch.no_grad():
        whole = model.lm(inputs_embeds=model.embed(batch), attention_mask=batch.real.long()).logits
        assert torch.allclose(model(batch), whole.flatten(0, 1)[batch.predict], atol=1e-4, rtol=1e-4)
    asked = examples(6, 5, "discrete")
    one_by_one = [answer(model, [e], max_new_tokens=8)[0] for e in asked]
    assert answer(model, asked, max_new_tokens=8) == one_by_one
    save(model, tmp_path / "saved")
    assert answer(load(tmp_path / "saved"), asked, max_new_tokens=8) == one_by_one


def test_the_prompt_goes_through_the_chat_template(checkpoint: Path):
    spec = HfDecoderConfig(checkpoint=str(checkpoint)).spec()
    prompt = _render(spec._tokenizer(checkpoint), *ASKED)
    assert prompt.prefix == "<|im_start|>user\nWrite.\n"
    assert prompt.suffix == "<|im_end|>\n<|im_start|>assistant\n"
    assert prompt.end == "<|im_end|>"
    text: Text = spec.load(ASKED, [], 0)[1]
    assert text.tokenizer.decode(list(text.prompts[0].prefix), skip_special_tokens=False) == prompt.prefix
    assert text.end == text.tokenizer.token_to_id("<|im_end|>")


def test_without_a_chat_template_the_prompt_stands_by_itself(tmp_path: Path):
    spec = HfDecoderConfig(checkpoint=str(make_checkpoint(tmp_path, template=False))).spec()
    assert _render(spec._tokenizer(tmp_path), *ASKED) == Prompt("Write.\n", "\n", "<|endoftext|>")


def test_swapping_weights_or_the_template_changes_the_identity_and_the_place_does_not(tmp_path: Path):
    first = make_checkpoint(tmp_path / "a")
    spec = HfDecoderConfig(checkpoint=str(first)).spec()
    assert canonical(HfDecoderConfig(checkpoint=str(make_checkpoint(tmp_path / "b"))).spec()) == canonical(spec)
    other = HfDecoderConfig(checkpoint=str(make_checkpoint(tmp_path / "c", seed=1))).spec()
    assert canonical(other) != canonical(spec)
    make_checkpoint(first, seed=2)
    with pytest.raises(StageError, match="have changed"):
        spec.load(ASKED, [], 0)
    assert canonical(
        HfDecoderConfig(checkpoint=str(make_checkpoint(tmp_path / "d", template=False))).spec()
    ) != canonical(spec)


def test_a_checkpoint_that_is_not_there_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="no checkpoint folder"):
        HfDecoderConfig(checkpoint=str(tmp_path / "nowhere")).spec()
    with pytest.raises(UserError, match="hf download nobody/nothing"):
        HfDecoderConfig(checkpoint="nobody/nothing").spec()
    with pytest.raises(UserError, match=r"no folder and no hub id.*owner/name"):
        HfDecoderConfig(checkpoint="qwen1.5-0.5").spec()


def test_an_encoder_is_no_decoder(checkpoint: Path, tmp_path: Path):
    folder = make_checkpoint(tmp_path / "lm")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["HubertModel"]}))
    with pytest.raises(UserError, match="is a HubertModel"):
        HfDecoderConfig(checkpoint=str(folder)).spec()


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    folder = make_checkpoint(tmp_path)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {n: w for n, w in weights.items() if "layers.1.mlp" not in n}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(StageError, match=r"lacks 3 weights"):
        HfDecoderConfig(checkpoint=str(folder)).spec().load(ASKED, [], 0)


def test_configurations_name_what_is_wrong():
    assert DECODERS["tiny"]().spec() == TinySpec()
    with pytest.raises(ValidationError, match="even multiple of heads"):
        TinyConfig(hidden=100, heads=3)
    with pytest.raises(ValidationError, match="extra_forbidden"):
        TinyConfig(hiden=100)
    for dtype in ("bfloat16", "float16"):
        with pytest.raises(ValidationError, match=r"all weights are trained.*recipe's dtype: bfloat16, or use lora"):
            HfDecoderConfig(checkpoint="a/b", dtype=dtype)
        assert HfDecoderConfig(checkpoint="a/b", dtype=dtype, lora={}).lora is not None
    with pytest.raises(UserError, match="needs `tokens`"):
        SpeechSpec(kind="discrete")
    with pytest.raises(UserError, match="only frames are concatenated"):
        SpeechSpec(kind="discrete", tokens=5, concatenate=2)


def test_flops_grow_with_what_is_computed():
    model = make()
    assert training_flops(model, 100, 1000, 10) < training_flops(model, 200, 1000, 10)
    body = sum(p.numel() for p in model.lm.model.layers.parameters()) + 32  # and the last norm
    adapter = sum(p.numel() for p in model.front.parameters())
    assert training_flops(model, 100, 0, 0) == 6 * 100 * (body + adapter)
