"""Searching for answers: never worse than greedy decoding, exact for labels, in batches as one by one."""

from __future__ import annotations

import json
import unicodedata

import pytest
import torch
from decoder_material import ASKED, WORDS, examples, make_checkpoint, speech_spec

from orchestrator.decoders import HfDecoderConfig, Recipe, SpeechLM, TinySpec, answer, decoding
from orchestrator.decoders.batches import collate, prepare
from orchestrator.decoders.beams import mean_log_probabilities, texts
from orchestrator.errors import StageError
from orchestrator.stage import canonical

TINY = TinySpec(hidden=32, layers=2, heads=2, kv_heads=1, intermediate=48, text_vocabulary=280)
LIMIT = 7


def make(kind: str = "continuous", decoder: TinySpec = TINY) -> SpeechLM:
    model = SpeechLM.create(decoder, speech_spec(kind), ASKED, [e.target for e in examples(40, 1)], 0).eval()
    with torch.no_grad():
        for weight in model.lm.parameters():  # first weights say the same whatever they hear; these don't
            weight.mul_(1.5)
    return model


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
@pytest.mark.parametrize("labels", [None, WORDS])
def test_the_best_of_a_search_is_the_same_in_batches_as_one_by_one(kind: str, labels):
    model = make(kind)
    asked = examples(12, 5, kind)
    one_by_one = [answer(model, [e], labels, LIMIT, beams=3)[0] for e in asked]
    assert answer(model, asked, labels, LIMIT, beams=3) == one_by_one
    assert answer(model, asked, labels, LIMIT, batch_tokens=200, beams=3) == one_by_one
    assert len(set(one_by_one)) > 1


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
@pytest.mark.parametrize("beams", [2, 4])
def test_no_answer_of_a_search_is_less_probable_than_the_greedy_one(kind: str, beams: int):
    model = make(kind)
    asked = prepare(examples(30, 5, kind), model.speech, model.text, model.longest, answered=False)
    with torch.inference_mode():
        greedy = decoding._greedy(model, asked, None, LIMIT)
        searched = texts(model, asked, greedy, beams, LIMIT)
        better, worse = (mean_log_probabilities(model, asked, answers) for answers in (searched, greedy))
    assert all(a >= b for a, b in zip(better, worse, strict=True))
    assert sum(better) > sum(worse)
    assert all(0 < len(tokens) <= LIMIT and model.text.end not in tokens[:-1] for tokens in searched)


def test_answers_without_room_are_empty():
    assert answer(make(), examples(3, 5), None, max_new_tokens=0, beams=3) == [""] * 3


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_an_answer_ends_with_the_positions_of_its_decoder(family: str, beams: int, tmp_path):
    """Each utterance by itself, so that batches equal answers one by one; what has room is answered as by a larger one."""
    spec = HfDecoderConfig(checkpoint=str(make_checkpoint(tmp_path, family=family))).spec()
    model = SpeechLM.create(spec, speech_spec("discrete"), ASKED, [], 0).eval()
    asked = examples(9, 5, "discrete")
    unbounded = answer(model, asked, None, LIMIT, beams=beams)
    ready = prepare(asked, model.speech, model.text, model.longest, answered=False)
    longest = max(u.length for u in ready)
    model = shortened(model, longest)
    one_by_one = [answer(model, [e], None, LIMIT, beams=beams)[0] for e in asked]
    assert answer(model, asked, None, LIMIT, beams=beams) == one_by_one
    room = [longest - u.length + 1 for u in ready]
    assert min(room) == 1 and sum(free >= LIMIT for free in room) > 1
    for free, bounded, whole, example in zip(room, one_by_one, unbounded, asked, strict=True):
        assert bounded == (whole if free >= LIMIT else answer(model, [example], None, free, beams=beams)[0])
    labels = [max(WORDS, key=len), "a label that is longer than the room that is left"]
    with pytest.raises(StageError, match=rf"after \d utterances, such as 5-.*{longest} positions have no room"):
        answer(model, asked, labels, beams=beams)


def shortened(model: SpeechLM, longest: int) -> SpeechLM:
    """A decoder with so many positions; GPT-2 has a table of them."""
    model.lm.config.max_position_embeddings = longest
    if table := getattr(model.lm.base_model, "wpe", None):
        table.weight.data, table.num_embeddings = table.weight.data[:longest], longest
    assert model.longest == longest
    return model


@pytest.mark.parametrize("beams", [1, 3])
def test_an_answer_is_a_label_as_it_was_written(beams: int, tmp_path):
    """However the tokenizer normalises: as a checkpoint's does that composes accents."""
    folder = make_checkpoint(tmp_path)
    values = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(values | {"normalizer": {"type": "NFC"}}))
    spec = HfDecoderConfig(checkpoint=str(folder)).spec()
    model = SpeechLM.create(spec, speech_spec("discrete"), ASKED, [], 0).eval()
    labels = [unicodedata.normalize("NFD", label) for label in ("grün", "schließt die Tür", "é")]
    assert set(answer(model, examples(9, 5, "discrete"), labels, beams=beams)) <= set(labels)
    for label in labels:
        assert answer(model, examples(2, 5, "discrete"), [label], beams=beams) == [label] * 2
    with pytest.raises(StageError, match="the same tokens of the labels"):
        answer(model, examples(2, 5, "discrete"), [labels[0], "grün"], beams=beams)


@pytest.mark.parametrize("kind", ["continuous", "none"])
def test_of_all_labels_the_most_probable_one_is_chosen(kind: str):
    """Against the probability of each label, read whole and alone."""
    model = make(kind)
    labels = ["lights_on", "lights", "lights off", "red", "open the door"]  # one is the beginning of others
    asked = examples(9, 5, kind)
    expected = []
    for example in asked:
        [utterance] = prepare([example], model.speech, model.text, model.longest, answered=False)
        whole = []
        for label in labels:
            tokens = [*model.text.encode([label])[0], model.text.end]
            with torch.no_grad():
                whole.append(mean_log_probabilities(model, [utterance], [tokens])[0] * len(tokens))
        expected.append(labels[max(range(len(labels)), key=whole.__getitem__)])
    assert answer(model, asked, labels, beams=2) == expected
    assert answer(model, asked, labels, batch_tokens=1, beams=2) == expected
    assert answer(model, asked, ["only"], beams=5) == ["only"] * 9


@pytest.mark.parametrize("family", ["qwen2", "gemma2"])
def test_any_causal_lm_searches(family: str, tmp_path):
    """What a checkpoint advises for chatting (a penalty for repetitions here) changes nothing."""
    spec = HfDecoderConfig(checkpoint=str(make_checkpoint(tmp_path, family=family))).spec()
    model = SpeechLM.create(spec, speech_spec("discrete"), ASKED, [], 0).eval()
    asked = examples(5, 5, "discrete")
    for labels in (None, WORDS):
        one_by_one = [answer(model, [e], labels, LIMIT, beams=3)[0] for e in asked]
        assert answer(model, asked, labels, LIMIT, beams=3) == one_by_one
    exhaustive = answer(model, asked, None, 2, beams=60)
    utterances = prepare(asked, model.speech, model.text, model.longest, answered=False)
    for utterance, found in zip(utterances, exhaustive, strict=True):
        assert found == _best_of_two(model, utterance)


def _best_of_two(model: SpeechLM, utterance) -> str:
    """The best answer of at most two tokens, the end counted, of all there are."""
    with torch.no_grad():
        first = model.lm(inputs_embeds=model.embed(collate([utterance], model.speech))).logits[0, -1].log_softmax(-1)
        inputs = model.embed(collate([utterance], model.speech))
        best, value = [model.text.end], first[model.text.end].item()
        for a in first.topk(60).indices.tolist():
            if a == model.text.end:
                continue
            token = model.lm.get_input_embeddings()(torch.tensor([[a]]))
            second = model.lm(inputs_embeds=torch.cat([inputs, token], 1)).logits[0, -1].log_softmax(-1)
            score = (first[a] + second.max()).item() / 2
            if score > value:
                best, value = [a, int(second.argmax())], score
    return model.text.decode(best)


def test_beams_are_no_part_of_a_training():
    assert canonical(Recipe(beams=4)) == canonical(Recipe())
