"""The synthetic corpus: what its annotations promise for every seed, and that its audio depends on the utterance alone."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import UserError
from tasks.corpora.synthetic import PRESETS, SAMPLE_RATE, Utterance, engine, speak, speak_all, utterances
from tasks.corpora.synthetic.espeak import Espeak, Speech
from tasks.corpora.synthetic.grammar import INTENTS, KEYWORDS, Noun, Word, by_split, sentences
from tasks.corpora.synthetic.lexicon import lexicon
from tasks.corpora.synthetic.voices import EMOTIONS

ARPABET = set(
    re.findall(
        r"[A-Z]+",
        "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH",
    )
)
COMMAND = ("text", "phonemes", "translation_de", "intent")
seeds = st.integers(0, 2**31 - 1)


def groups(corpus: list[Utterance]) -> dict[str, list[Utterance]]:
    return {
        "command": [u for u in corpus if u.text is not None],
        "keyword": [u for u in corpus if u.keyword is not None],
        "emotion": [u for u in corpus if u.emotion is not None],
    }


def values(corpus: list[Utterance], attribute: str, split: str) -> set[str]:
    found = {getattr(u, attribute) for u in corpus if u.split == split}
    return found - {None}


def a_few(seed: int = 0) -> list[Utterance]:
    """Of every group and split, with voices that breathe at random among them."""
    return utterances("smoke", seed)[::9]


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_every_seed_keeps_the_promises_of_the_annotations(seed):
    corpus = utterances("smoke", seed)
    assert len({u.id for u in corpus}) == len(corpus)
    parts = groups(corpus)
    assert sum(map(len, parts.values())) == len(corpus), "every utterance belongs to exactly one group"
    for utterance in parts["command"]:
        assert all(getattr(utterance, name) for name in COMMAND)
        assert utterance.keyword is utterance.emotion is None
    for utterance in parts["keyword"] + parts["emotion"]:
        assert all(getattr(utterance, name) is None for name in COMMAND)
    for one, other in combinations(("train", "dev", "test"), 2):
        assert not values(corpus, "speaker", one) & values(corpus, "speaker", other)
        for group in ("command", "emotion"):
            spoken = {split: {u.speech.text for u in parts[group] if u.split == split} for split in (one, other)}
            assert not spoken[one] & spoken[other]
    for attribute in ("intent", "keyword", "emotion"):
        assert values(corpus, attribute, "test") | values(corpus, attribute, "dev") <= values(
            corpus, attribute, "train"
        )


@pytest.mark.parametrize("preset", PRESETS)
def test_no_sentence_and_no_vocal_tract_belongs_to_two_splits_of_any_group(preset):
    corpus = [u for u in utterances(preset, 0) if u.keyword is None]
    for heard in (lambda u: u.speech.text, lambda u: u.speech.voice.split("+")[1]):
        by = {split: {heard(u) for u in corpus if u.split == split} for split in ("train", "dev", "test")}
        assert not by["train"] & by["dev"] and not by["train"] & by["test"] and not by["dev"] & by["test"]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_has_the_numbers_it_names(preset):
    plan, corpus = PRESETS[preset], utterances(preset, 1)
    for group, sizes in (("command", plan.commands), ("keyword", plan.keywords), ("emotion", plan.emotions)):
        assert Counter(u.split for u in groups(corpus)[group]) == dict(
            zip(("train", "dev", "test"), sizes, strict=True)
        )
    assert all(len({u.intent for u in corpus if u.split == split} - {None}) >= 12 for split in ("train", "test"))
    accents = {split: {u.speech.voice.split("+")[0] for u in corpus if u.split == split} for split in ("train", "test")}
    assert len(accents["test"] - accents["train"]) == 1, "one accent is heard in test only"


@pytest.mark.parametrize("language", ["tiny", "small", "rich"])
def test_held_out_templates_are_heard_in_test_only_and_of_known_words(language):
    split = by_split(language)
    assert not any(s.held_out for s in split["train"] + split["dev"])
    assert {s.intent for s in split["test"] if s.held_out} == set(INTENTS)
    assert {s.intent for s in split["test"] if not s.held_out} == set(INTENTS)
    assert {s.intent for s in split["train"]} == set(INTENTS)

    def words(*names):
        return {word for name in names for s in split[name] for word in s.text.split()}

    assert words("dev", "test") <= words("train")


@pytest.mark.parametrize("language", ["tiny", "small", "rich"])
def test_every_sentence_is_unique_well_formed_and_pronounceable(language):
    every = sentences(language)
    assert len({s.text for s in every}) == len(every)
    for sentence in every:
        for text in (sentence.text, sentence.translation):
            assert text and text == " ".join(text.split()) and text.replace(" ", "").isalpha()
        assert sentence.text == sentence.text.lower()
        assert set(sentence.text.split()) <= set(lexicon())


def test_the_lexicon_holds_the_words_that_are_spoken_and_no_others():
    spoken = {word for s in sentences("rich") for word in s.text.split()} | set(KEYWORDS)
    assert spoken == set(lexicon())
    assert {phone for phones in lexicon().values() for phone in phones} <= ARPABET


@pytest.mark.parametrize(
    ("noun", "form", "german"),
    [
        (Noun("cup", "Tasse", "f"), "dat", "der Tasse"),
        (Noun("ball", "Ball", "m"), "acc", "den Ball"),
        (Noun("ball", "Ball", "m").with_adjective(Word("red", "rot")), "acc", "den roten Ball"),
        (Noun("table", "Tisch", "m").with_adjective(Word("old", "alt")), "dat", "dem alten Tisch"),
        (Noun("song", "Lied", "n").with_adjective(Word("slow", "langsam")), "ein acc", "ein langsames Lied"),
        (Noun("waltz", "Walzer", "m").with_adjective(Word("new", "neu")), "ein acc", "einen neuen Walzer"),
        (Noun("tea", "Tee", "m").with_adjective(Word("hot", "heiß")), "bare acc", "heißen Tee"),
        (Noun("milk", "Milch", "f").with_adjective(Word("cold", "kalt")), "bare acc", "kalte Milch"),
        (Noun("brother", "Bruder", "m"), "mein acc", "meinen Bruder"),
        (Noun("sister", "Schwester", "f"), "mein acc", "meine Schwester"),
    ],
)
def test_german_nouns_follow_case_and_gender(noun, form, german):
    assert format(noun, form) == german


def test_german_contracts_prepositions_and_puts_verbs_where_they_belong():
    german = {s.text: s.translation for s in sentences("rich")}
    assert german["open the window in the garden"] == "öffne das Fenster im Garten"
    assert german["bring the red cup to the office"] == "bring die rote Tasse ins Büro"
    assert german["go to the old table tonight"] == "geh heute Abend zum alten Tisch"
    assert german["can you call my brother tomorrow"] == "kannst du morgen meinen Bruder anrufen"


def test_audio_is_byte_identical_whatever_the_workers_and_the_order():
    few = a_few()
    alone = dict(speak_all(few, workers=1))
    assert list(alone) == [u.id for u in few], "the order is that of the utterances"
    for other in (dict(speak_all(few, workers=2)), dict(speak_all(few[::-1], workers=1))):
        assert all(np.array_equal(wave, other[name]) for name, wave in alone.items())
    assert np.array_equal(speak(few[3]), alone[few[3].id])


def test_waves_are_sound_of_usable_length_and_level():
    for _, wave in speak_all(a_few(3), workers=2):
        assert wave.dtype == np.float32 and wave.ndim == 1
        assert len(wave) >= 0.3 * SAMPLE_RATE
        assert np.sqrt(np.mean(wave**2)) > 0.001 and np.abs(wave).max() < 1
        assert np.array_equal(wave * 2**15, np.round(wave * 2**15)), "16 bits hold it exactly"


def test_another_seed_gives_other_utterances_and_other_audio():
    one, other = utterances("smoke", 0), utterances("smoke", 1)
    assert [u.speech for u in one] != [u.speech for u in other]
    assert not np.array_equal(speak(one[0]), speak(other[0]))
    assert one == utterances("smoke", 0)


def test_every_voice_of_every_preset_exists():
    voices = {u.speech.voice for preset in PRESETS for u in utterances(preset, 0)}
    with Espeak() as espeak:
        for voice in voices:
            # An unknown variant would be replaced, without a word, by the accent's own voice.
            accent = voice.split("+")[0]
            variant, own = (espeak.say(Speech("no", name, 180, 50, 50)) for name in (voice, accent))
            assert variant != own, voice


def test_every_emotion_is_spoken_by_the_same_speakers():
    emotions = groups(utterances("demo", 0))["emotion"]
    speakers = {name: {u.speaker for u in emotions if u.emotion == name and u.split == "train"} for name in EMOTIONS}
    assert all(len(found) > 30 for found in speakers.values())


def test_the_engine_names_its_version_and_an_unknown_preset_is_explained():
    assert engine().startswith("espeak-ng 1.")
    with pytest.raises(UserError, match="did you mean 'demo'"):
        utterances("demos", 0)
    with Espeak() as espeak, pytest.raises(ValueError, match="can't say"):
        espeak.say(Speech("no", "xx-nowhere", 180, 50, 50))
