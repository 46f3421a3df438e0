"""Tokens: nothing is lost on the way, and the statistics are those of the literature."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from conftest import Speech
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from orchestrator import tokens
from orchestrator.errors import StageError
from orchestrator.stages.bpe import Bpe, encode, read_bpe, train_bpe
from orchestrator.stages.encoder_pass import run_locally
from orchestrator.stages.units import read_units

CODES = st.lists(st.integers(0, 5), max_size=60).map(lambda codes: np.array(codes, np.int64))
ANY_UNITS = st.lists(st.integers(0, tokens.MOST_UNITS - 1), max_size=60).map(lambda units: np.array(units, np.int64))


@given(CODES)
def test_run_lengths_give_every_frame_back(codes: np.ndarray):
    units, runs = tokens.deduplicate(codes)
    assert np.array_equal(np.repeat(units, runs), codes)
    assert (units[1:] != units[:-1]).all()
    assert (runs > 0).all() and runs.sum() == len(codes)


@given(CODES)
def test_de_duplicating_twice_is_de_duplicating_once(codes: np.ndarray):
    units, _ = tokens.deduplicate(codes)
    again, runs = tokens.deduplicate(units)
    assert np.array_equal(again, units) and (runs == 1).all()


@given(ANY_UNITS)
def test_units_as_text_are_one_private_character_each(units: np.ndarray):
    text = tokens.to_text(units)
    assert len(text) == len(units)
    assert np.array_equal(tokens.from_text(text), units)
    assert not any(c.isspace() or c.isprintable() for c in text)


def test_text_is_lossless_for_every_unit_there_can_be():
    for dtype in (np.int64, np.uint16):
        every = np.arange(tokens.MOST_UNITS).astype(dtype)
        text = tokens.to_text(every)
        assert np.array_equal(tokens.from_text(text.encode().decode()), every)
        assert ord(text[-1]) <= 0xFFFFD  # the last private code point of that plane


# BPE


@given(
    train=st.lists(st.lists(st.integers(0, 7), max_size=40), min_size=1, max_size=10),
    test=st.lists(st.integers(0, 19), max_size=80),
    more=st.integers(0, 30),
)
@settings(max_examples=60, deadline=None)
def test_bpe_is_lossless_also_for_units_that_training_never_saw(train: list, test: list, more: int):
    k = 20
    bpe = train_bpe([np.array(units, np.int64) for units in train], k, k + more)
    units = {"a": np.array(test, np.int64), "b": np.arange(k), "nothing": np.zeros(0, np.int64)}
    encoded = encode(bpe, units)
    assert k <= bpe.get_vocab_size() <= k + more
    for name, ids in encoded.items():
        pieces = "".join(bpe.id_to_token(int(i)) for i in ids)
        assert np.array_equal(tokens.from_text(pieces), units[name])
        assert len(ids) <= len(units[name])
        assert not len(ids) or ids.max() < bpe.get_vocab_size()


def test_the_first_k_tokens_are_the_units():
    bpe = train_bpe([np.array([3, 1, 3, 1, 3, 1])], 5, 8)
    assert [bpe.token_to_id(tokens.to_text(np.array([unit]))) for unit in range(5)] == list(range(5))
    assert bpe.get_vocab_size() > 5


def test_bpe_of_the_size_of_the_codebook_changes_nothing():
    units = np.array([0, 1, 0, 1, 0, 1, 2])
    assert np.array_equal(encode(train_bpe([units], 3, 3), {"a": units})["a"], units)


def test_bpe_merges_what_is_common_and_the_same_every_time():
    train = [np.array([0, 1, 2, 0, 1, 2, 0, 1]) for _ in range(5)]
    bpe, again = (train_bpe(train, 3, 6) for _ in range(2))
    assert bpe.to_str() == again.to_str()
    assert len(encode(bpe, {"a": np.array([0, 1, 2] * 6)})["a"]) < 9


def test_a_long_utterance_is_not_cut():
    units = np.random.default_rng(0).integers(0, 4, 20_000)  # far beyond the 4192 bytes of a line elsewhere
    assert len(encode(train_bpe([units[:100]], 4, 4), {"a": units})["a"]) == len(units)


def test_units_beyond_the_alphabet_are_an_error_and_never_dropped():
    with pytest.raises(StageError, match="lost units of 'a'"):
        encode(train_bpe([np.array([0, 1])], 2, 2), {"a": np.array([0, 5, 1])})


def test_the_bpe_of_a_corpus_is_trained_on_training_units_only(speech: Speech):
    units = speech.units(16)
    run_locally(speech.store, [units])
    bpe = Bpe(units=units, selection=speech.selection, vocabulary=40)
    artifact = speech.store.build(bpe)
    every = read_units(speech.store.open(units))
    train = speech.store.open(speech.selection).json("ids.json")
    assert 0 < len(train) < len(every)
    assert read_bpe(artifact).to_str() == train_bpe([every[name] for name in train], 16, 40).to_str()
    report, before = artifact.json("statistics.json"), speech.store.open(units).json("statistics.json")
    encoded = encode(read_bpe(artifact), every)
    assert report["tokens"] == sum(map(len, encoded.values())) < before["deduplicated"]["tokens"]
    assert report["seconds"] == before["frames"]["seconds"]
    assert (report["vocabulary"], before["frames"]["vocabulary"]) == (40, 16)


def test_a_bpe_vocabulary_smaller_than_the_codebook_is_an_error(speech: Speech):
    with pytest.raises(StageError, match="vocabulary of 15 is smaller than the codebook of 16"):
        speech.store.build(Bpe(units=speech.units(16), selection=speech.selection, vocabulary=15))


def test_bpe_refuses_a_codebook_beyond_the_private_plane(speech: Speech):
    most = tokens.MOST_UNITS
    with pytest.raises(StageError, match=f"up to {most}"):
        speech.store.build(Bpe(units=speech.units(most + 1), selection=speech.selection, vocabulary=1 << 20))


# Statistics


SEQUENCES = st.lists(st.lists(st.integers(0, 9), max_size=30), max_size=5)


@given(SEQUENCES, st.integers(10, 40), st.floats(0.1, 1e4))
def test_statistics_are_the_formulas(sequences: list[list[int]], vocabulary: int, seconds: float):
    found = tokens.statistics(sequences, vocabulary, seconds)
    counts = Counter(token for sequence in sequences for token in sequence)
    n = counts.total()
    bits = scipy_entropy(list(counts.values()), base=2) if n else 0.0
    assert found["tokens"] == n
    assert found["used"] == len(counts) and found["dead"] == vocabulary - len(counts)
    assert found["utilisation"] == pytest.approx(len(counts) / vocabulary)
    assert found["entropy"] == pytest.approx(bits, abs=1e-12)
    assert found["normalised_entropy"] == pytest.approx(bits / math.log2(vocabulary), abs=1e-12)
    assert found["tokens_per_second"] == pytest.approx(n / seconds)
    assert found["bits_per_second"] == pytest.approx(n * math.log2(vocabulary) / seconds)
    assert found["entropy_rate"] == pytest.approx(n * bits / seconds, abs=1e-9)
    assert 0 <= found["entropy_rate"] <= found["bits_per_second"] + 1e-9
    assert found["effective_types"] == pytest.approx(2**bits if n else 0.0)
    rarest, (part, whole) = sorted(counts.values()), math.modf(len(counts) / 5)
    fifth = sum(rarest[: int(whole)]) + part * rarest[int(whole)] if n else 0.0
    assert found["rarest_fifth_share"] == pytest.approx(fifth / n if n else 0.0)


def test_statistics_by_hand():
    # 4 a, 2 b, 1 c, 1 d: H = 1/2·1 + 1/4·2 + 2·1/8·3 = 1.75 bits
    found = tokens.statistics([[0, 0, 1, 2], [0, 0, 1, 3]], vocabulary=16, seconds=2.0)
    assert found["entropy"] == 1.75
    assert found["normalised_entropy"] == 1.75 / 4  # by V = 16, and not by the four that are used
    assert found["bits_per_second"] == 8 * 4 / 2
    assert found["entropy_rate"] == 8 * 1.75 / 2
    assert (found["used"], found["dead"], found["utilisation"]) == (4, 12, 0.25)
    assert found["rarest_fifth_share"] == pytest.approx(0.8 * 1 / 8)  # a fifth of four types is 0.8 of the rarest


def test_the_rarest_fifth_of_the_types_carry_their_share_of_the_occurrences():
    # ten types; the two rarest occur 1 and 2 times out of 55
    sequence = [token for token in range(10) for _ in range(token + 1)]
    assert tokens.statistics([sequence], 10, 1.0)["rarest_fifth_share"] == pytest.approx(3 / 55)


def test_a_collapsed_codebook_has_no_entropy_however_few_codes_are_used():
    assert tokens.statistics([[3] * 50], 64, 1.0)["normalised_entropy"] == 0.0
    half = tokens.statistics([[0, 1] * 50], 64, 1.0)["normalised_entropy"]
    assert half == pytest.approx(1 / 6)
