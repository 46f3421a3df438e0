"""Token analysis: its numbers are those of a recount by hand, and evenness is 1 exactly where all is even."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Speech
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import save_file

from orchestrator import corpora, evenness, spectrum, tokens
from orchestrator.encoders.spectral import SpectralSpec
from orchestrator.errors import StageError
from orchestrator.stage import Build, Stage, walk
from orchestrator.stages import annotations as notes
from orchestrator.stages.analysis import FEWER_THAN, Analysis, analyse
from orchestrator.stages.annotations import Annotations, Selection
from orchestrator.stages.bpe import Bpe
from orchestrator.stages.codebook import Codebook
from orchestrator.stages.encoder_pass import run_locally
from orchestrator.stages.recordings import Recording, Recordings
from orchestrator.stages.sample import Sample
from orchestrator.stages.shards import cut, read_index, read_shards, write_index, write_shard
from orchestrator.stages.speech import CentroidsSpeech, ContinuousSpeech, DiscreteSpeech, NoSpeech
from orchestrator.stages.training import Training
from orchestrator.stages.units import Units, pack, read_units
from orchestrator.store import Store
from tasks.corpora import READERS

WEIGHTS = st.lists(st.integers(0, 1000), min_size=1, max_size=50).map(lambda w: np.array(w, np.int64))


# Evenness


@given(st.integers(1, 300), st.integers(1, 10**6))
def test_equal_shares_are_perfectly_even(n: int, weight: int):
    weights = np.full(n, weight)
    assert evenness.lorenz(weights) == pytest.approx(evenness.QUANTILES)  # on the diagonal
    assert evenness.lorenz(weights, evenness.FIFTH) == pytest.approx(0.2)
    assert evenness.normalised_entropy(weights) == pytest.approx(1.0 if n > 1 else 0.0)
    assert evenness.effective_number(weights) == pytest.approx(n)
    assert evenness.participation_ratio(weights) == pytest.approx(n)


@given(st.integers(2, 300), st.integers(1, 10**6), st.data())
def test_one_that_holds_everything_is_perfectly_uneven(n: int, weight: int, data: st.DataObject):
    weights = np.zeros(n, np.int64)
    weights[data.draw(st.integers(0, n - 1))] = weight
    assert evenness.normalised_entropy(weights) == 0.0
    assert evenness.effective_number(weights) == evenness.participation_ratio(weights) == 1.0
    assert evenness.lorenz(weights, (0.0, 1 - 1 / n, 1.0)) == pytest.approx([0, 0, 1], abs=1e-9)


@given(WEIGHTS, st.randoms(use_true_random=False), st.integers(2, 9))
def test_evenness_knows_neither_order_nor_scale(weights: np.ndarray, random, factor: int):
    other = weights.tolist()
    random.shuffle(other)
    for measure in (evenness.normalised_entropy, evenness.effective_number, evenness.participation_ratio):
        assert measure(np.array(other) * factor) == pytest.approx(measure(weights))
    assert evenness.curve(np.array(other) * factor) == pytest.approx(evenness.curve(weights), abs=2e-6)


@given(WEIGHTS)
def test_a_lorenz_curve_rises_ever_faster_from_nothing_to_all_and_never_above_the_diagonal(weights: np.ndarray):
    shares = evenness.lorenz(weights)
    if not weights.any():
        assert not shares.any()
        return
    at = np.array(evenness.QUANTILES)
    assert (shares[0], shares[-1]) == (0.0, pytest.approx(1.0))
    assert (shares <= at + 1e-9).all()
    slopes = np.diff(shares) / np.diff(at)
    assert (slopes >= -1e-9).all() and (np.diff(slopes) >= -1e-6).all()


@given(WEIGHTS)
def test_effective_numbers_lie_between_one_and_what_is_used(weights: np.ndarray):
    used = int((weights > 0).sum())
    ratio, number = evenness.participation_ratio(weights), evenness.effective_number(weights)
    if used == 0:
        assert ratio == number == 0.0
    else:
        assert 1 - 1e-9 <= ratio <= number + 1e-9 <= used + 1e-6


# Spectrum


@given(st.integers(1, 40), st.floats(1e-6, 1e6))
def test_an_isotropic_spectrum_has_the_rank_of_its_dimension(dimension: int, variance: float):
    found = spectrum.describe(np.eye(dimension) * variance)
    assert found["effective_rank"] == pytest.approx(dimension)
    assert found["participation_ratio"] == pytest.approx(dimension)
    assert found["variance"] == pytest.approx(dimension * variance)
    assert found["weakest_fifth_share"] == pytest.approx(0.2)
    assert found["directions"] == {str(p): -(-dimension * p // 100) for p in (90, 95, 99)}


@given(arrays(np.float64, 8, elements=st.floats(-10, 10)).filter(lambda v: np.abs(v).max() > 0.1))
def test_frames_along_one_line_have_rank_one(direction: np.ndarray):
    frames = np.random.default_rng(0).normal(size=(200, 1)) * direction + 5
    found = spectrum.describe(spectrum.covariance(frames))
    assert found["effective_rank"] == pytest.approx(1.0, abs=1e-6)
    assert found["participation_ratio"] == pytest.approx(1.0, abs=1e-6)
    assert found["directions"] == {"90": 1, "95": 1, "99": 1}
    assert found["shares"][0] == 1.0 and found["normalised_entropy"] == pytest.approx(0.0, abs=1e-6)


def test_frames_that_never_change_have_no_spectrum_and_no_nan():
    found = spectrum.describe(spectrum.scaled(spectrum.covariance(np.full((50, 4), 3, np.float16)), np.zeros(4)))
    assert found["effective_rank"] == found["variance"] == found["normalised_entropy"] == 0.0
    assert found["directions"] == {"90": 0, "95": 0, "99": 0}
    json.dumps(found, allow_nan=False)


def test_the_covariance_in_blocks_is_that_of_all_frames():
    frames = np.random.default_rng(0).normal(3, 2, (1000, 6)).astype(np.float16)
    whole = np.cov(frames.astype(np.float64), rowvar=False, bias=True)
    for block in (7, 1000, 4096):
        assert spectrum.covariance(frames, block) == pytest.approx(whole, abs=1e-9)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_rotating_frames_moves_no_variance_and_normalising_takes_every_scale_away(seed: int):
    chance = np.random.default_rng(seed)
    frames = chance.normal(size=(300, 5)) @ chance.normal(size=(5, 5))
    raw = spectrum.describe(spectrum.covariance(frames))
    rotation = np.linalg.qr(chance.normal(size=(5, 5)))[0]
    rotated = spectrum.describe(spectrum.covariance(frames @ rotation))
    assert rotated["effective_rank"] == pytest.approx(raw["effective_rank"])
    assert rotated["curve"] == pytest.approx(raw["curve"], abs=2e-6)
    scales = chance.uniform(0.1, 100, 5)
    once, again = (spectrum.scaled(spectrum.covariance(f), f.std(0)) for f in (frames, frames * scales))
    assert again == pytest.approx(once)
    assert np.diag(once) == pytest.approx(1.0)


@given(arrays(np.int64, 6, elements=st.integers(0, 30)).filter(lambda counts: counts.sum() > 1))
def test_centroids_by_their_counts_vary_as_the_frames_that_they_stand_for(counts: np.ndarray):
    centroids = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    frames = np.repeat(centroids, counts, axis=0)
    expected = spectrum.covariance(frames)
    assert spectrum.weighted_covariance(centroids, counts) == pytest.approx(expected, abs=1e-6)


# Tokens seen in training


def test_tokens_that_training_lacks_are_counted_by_type_and_by_occurrence():
    train, test = np.array([0, 4, 5, 100]), np.array([1, 2, 3, 4])
    found = [tokens.seen_less(train, {"test": test, "empty": np.zeros(4, np.int64)}, n) for n in (1, 5, 10)]
    assert [f["types"] for f in found] == [0.25, 0.5, 0.75]
    assert [f["occurrences"]["test"] for f in found] == [0.1, 0.3, 0.6]
    assert [f["occurrences"]["empty"] for f in found] == [None, None, None]


# The stage, over artifacts made by hand


def made(store: Store, codes: dict[str, list[int]], k: int, broken: tuple[str, ...] = ()) -> Units:
    """Units of given codes, 0.5 s an utterance, with the codebook and sample that they could come from."""
    content = json.dumps([codes, k, broken])
    recordings, encoder = Recordings(content=content), SpectralSpec(bins=3)
    sample = Sample(recordings=recordings, selection=Selection(content="s"), encoder=encoder, layer=0, frames=200)
    frames = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float16)
    arrays = {"frames": frames, "mean": frames.mean(0, np.float32), "std": frames.std(0, dtype=np.float32)}
    codebook = Codebook(sample=sample, k=k)
    units = Units(recordings=recordings, encoder=encoder, layer=0, codebook=codebook)
    ids = [Recording(id=name, path=Path(name), start=0.0, seconds=0.5, whole=True) for name in (*codes, *broken)]

    def write_codebook(folder: Path) -> None:
        centroids = np.random.default_rng(1).normal(size=(k, 3)).astype(np.float32)
        save_file({"centroids": centroids}, folder / "centroids.safetensors")
        (folder / "statistics.json").write_text(json.dumps({"held_out_inertia": 1.0, "total_variance": 4.0}))

    def write_units(folder: Path) -> None:
        shards = cut(ids)
        for shard in shards:
            inside = [r.id for r in shard.recordings if r.id in codes]
            packed = [pack(name, np.array(codes[name]), k) for name in inside]
            errors = {r.id: "torn" for r in shard.recordings if r.id in broken}
            write_shard(folder, shard, {name: a for one in packed for name, a in one.items()}, errors)
        write_index(folder, shards)

    store.put(sample, lambda folder: save_file(arrays, folder / "sample.safetensors"))
    store.put(codebook, write_codebook)
    store.put(units, write_units)
    return units


def look(store: Store, units: Units, splits: dict[str, str], dedup: bool = True) -> dict:
    """The analysis of units, of the utterances in `splits`."""
    rows = pd.DataFrame({"id": list(splits), "split": list(splits.values())})
    return analyse(DiscreteSpeech(units=units, dedup=dedup), Build(store.root, store.open), rows)


def rounded(value: object) -> object:
    """Plain values without the last digits, which depend on the order of a sum."""
    return json.loads(json.dumps(value), parse_float=lambda digits: round(float(digits), 9))


CORPORA = st.lists(
    st.tuples(st.sampled_from(["train", "dev", "test-clean", "test-other"]), st.lists(st.integers(0, 6), min_size=1)),
    min_size=1,
    max_size=12,
)


@given(CORPORA, st.booleans(), st.permutations(range(7)))
@settings(max_examples=25, deadline=None)
def test_the_analysis_is_what_a_recount_says(tmp_path_factory: pytest.TempPathFactory, corpus, dedup, renamed):
    store = Store(tmp_path_factory.mktemp("made"))
    codes = {f"u{i:02}": codes for i, (_, codes) in enumerate(corpus)}
    splits = {f"u{i:02}": split for i, (split, _) in enumerate(corpus)}
    found = look(store, made(store, codes, 7), splits, dedup)
    runs = {name: [c for i, c in enumerate(values) if i == 0 or values[i - 1] != c] for name, values in codes.items()}
    read = runs if dedup else codes
    lengths = [len(values) for values in read.values()]
    frames, units = sum(map(len, codes.values())), sum(map(len, runs.values()))
    assert (found["frames"], found["units"], found["tokens"]) == (frames, units, sum(lengths))
    assert found["compression"]["dedup"] == pytest.approx(frames / sum(lengths))
    assert found["compression"]["bpe"] == 1.0 and found["compression"]["both"] == pytest.approx(frames / sum(lengths))
    assert found["mean_run_length"] == pytest.approx(frames / units)
    reads = found["positions_per_utterance"]
    assert reads["mean"] == pytest.approx(np.mean(lengths)) and reads["longest"] == max(lengths)
    assert reads["p95"] == pytest.approx(np.percentile(lengths, 95))
    assert found["seconds"] == pytest.approx(0.5 * len(codes))
    assert found["positions_per_second"] == pytest.approx(sum(lengths) / found["seconds"])
    assert found["entropy_rate"] <= found["bits_per_second"] + 1e-9
    expected = tokens.statistics(read.values(), 7, found["seconds"])
    assert {key: found["distribution"][key] for key in expected} == pytest.approx(expected)
    for split, one in found["splits"].items():
        inside = [name for name in codes if splits[name] == split]
        assert one["utterances"] == len(inside)
        assert one["tokens"] == sum(len(read[name]) for name in inside)
    counts = {s: Counter(c for n in codes if splits[n] == s for c in read[n]) for s in {*splits.values(), "train"}}
    for n, row in zip(FEWER_THAN, found["seen_less"], strict=True):
        rare = {code for code in range(7) if counts["train"][code] < n}
        assert row["types"] == pytest.approx(len(rare) / 7)
        tests = sum((c for s, c in counts.items() if s.startswith("test")), Counter())
        for name, counter in {"all": tests, **{s: c for s, c in counts.items() if s.startswith("test")}}.items():
            share = sum(counter[code] for code in rare) / counter.total() if counter else None
            assert row["occurrences"][name] == (share if share is None else pytest.approx(share))
    # Other names for the codes, another order of the utterances: the same distribution.
    other = look(store, made(store, {n: [renamed[c] for c in v] for n, v in codes.items()}, 7), splits, dedup)
    turned = look(store, made(store, codes, 7), dict(reversed(splits.items())), dedup)
    assert turned == found
    for key in ("distribution", "seen_less", "compression", "splits", "positions_per_utterance", "bits_per_second"):
        assert rounded(other[key]) == rounded(found[key])


def test_tokens_used_alike_are_even_and_one_token_of_many_is_not(store: Store):
    even = look(store, made(store, {"a": list(range(20)) * 3, "b": list(range(20))}, 20), {"a": "train", "b": "test"})
    assert even["distribution"]["normalised_entropy"] == pytest.approx(1.0)
    assert even["distribution"]["rarest_fifth_share"] == pytest.approx(0.2)
    assert even["distribution"]["curve"] == pytest.approx(evenness.QUANTILES, abs=1e-6)
    assert even["entropy_rate"] == pytest.approx(even["bits_per_second"])
    one = look(store, made(store, {"a": [3] * 40, "b": [3]}, 20), {"a": "train", "b": "test"}, dedup=False)
    assert one["distribution"]["normalised_entropy"] == one["entropy_rate"] == 0.0
    assert one["distribution"]["utilisation"] == 1 / 20
    assert one["spectrum"]["raw"]["effective_rank"] == 0.0  # a single centroid does not vary


def test_utterances_without_frames_are_told_and_those_that_nobody_encoded_are_an_error(store: Store):
    units = made(store, {"a": [0, 1], "b": [1, 1]}, 2, broken=("c",))
    found = look(store, units, {"a": "train", "b": "test", "c": "test"})
    assert (found["utterances"], found["without_frames"], found["seconds"]) == (2, 1, 1.0)
    only = look(store, units, {"c": "train"})  # nothing is left
    assert (only["utterances"], only["tokens"], only["entropy_rate"]) == (0, 0, 0.0)
    json.dumps(only, allow_nan=False)
    with pytest.raises(StageError, match="lacks 1 annotated utterances, the first is 'd'"):
        look(store, units, {"a": "train", "d": "test"})


def test_only_annotated_utterances_count(store: Store):
    units = made(store, {"a": [0, 1, 2], "b": [3, 3, 3]}, 4)
    assert look(store, units, {"a": "train"})["frames"] == 3
    assert look(store, units, {"a": "train", "b": "test"})["frames"] == 6


# The stage, over the smoke corpus


@pytest.fixture(scope="module")
def analysed(spoken: Speech, tmp_path_factory: pytest.TempPathFactory) -> tuple[Speech, Annotations, pd.DataFrame]:
    """Units, features and annotations of the smoke corpus in a store of this module's own."""
    import shutil

    root = tmp_path_factory.mktemp("analysed") / "store"
    shutil.copytree(spoken.store.root, root)
    speech = replace(spoken, store=Store(root))
    table = corpora.index("spoken", READERS["synthetic"](preset="smoke"), speech.store).splits(None)
    stage, rows = notes.annotations("spoken", "intent", table)
    speech.store.put(stage, lambda folder: notes.write_annotations(folder, rows))
    run_locally(speech.store, [speech.units(16), speech.features()])
    return speech, stage, rows


def test_real_units_are_analysed_with_and_without_bpe_and_de_duplication(analysed):
    speech, stage, rows = analysed
    store, units = speech.store, speech.units(16)
    every = read_units(store.open(units), rows["id"])
    runs = read_units(store.open(units), rows["id"], dedup=False)
    for dedup in (True, False):
        bpe = Bpe(units=units, selection=speech.selection, vocabulary=40, dedup=dedup)
        store.build(bpe)
        for merged in (None, bpe):
            of = DiscreteSpeech(units=units, dedup=dedup, bpe=merged)
            analysis = Analysis(speech=of, annotations=stage)
            artifact = store.build(analysis)
            found = artifact.json("analysis.json")
            read = of.load(store.open, rows["id"])
            assert artifact.names == ["analysis.json"] and artifact.file("analysis.json").stat().st_size < 12_000
            assert found["kind"] == "discrete" and found["utterances"] == len(rows)
            assert found["frames"] == sum(map(len, runs.values()))
            assert found["units"] == sum(map(len, every.values()))
            assert found["tokens"] == sum(map(len, read.values()))
            assert found["vocabulary"] == (40 if merged else 16)
            shorter = found["compression"]
            assert shorter["both"] == pytest.approx(shorter["dedup"] * shorter["bpe"])
            assert shorter["both"] == pytest.approx(found["frames"] / found["tokens"])
            assert (shorter["dedup"] > 1) == dedup and (shorter["bpe"] > 1) == (merged is not None)
            assert found["nominal_bits_per_second"] == 4 * units.encoder.frame_rate
            seconds = read_index(store.open(units)).set_index("id")["seconds"].loc[rows["id"]].sum()
            expected = tokens.statistics(read.values(), found["vocabulary"], seconds)
            assert {key: found["distribution"][key] for key in expected} == pytest.approx(expected)
            assert 0 < found["entropy_rate"] < found["bits_per_second"]
            assert 0 < found["distribution"]["rarest_fifth_share"] < 0.2


def test_both_arms_have_a_spectrum_and_quantising_narrows_it(analysed):
    speech, stage, rows = analysed
    store, units = speech.store, speech.units(16)
    of = ContinuousSpeech(features=(speech.features(),), samples=(speech.sample(),), downsample=2)
    frames = store.build(Analysis(speech=of, annotations=stage)).json("analysis.json")
    centroids = store.build(Analysis(speech=DiscreteSpeech(units=units, dedup=True), annotations=stage))
    centroids = centroids.json("analysis.json")
    lengths = [len(values) for values in read_shards(store.open(speech.features()), rows["id"]).values()]
    assert frames["frames"] == centroids["frames"] == sum(lengths)
    assert frames["positions"] == sum(-(-length // 2) for length in lengths)
    assert frames["bits_per_second"] == pytest.approx(16 * 24 * sum(lengths) / frames["seconds"], rel=1e-4)
    assert frames["bits_per_second_concatenated"] >= frames["bits_per_second"]
    assert frames["nominal_bits_per_second"] == 16 * 24 * units.encoder.frame_rate
    assert (frames["spectrum"]["variance_kept"], frames["dimension"]) == (1.0, 24)
    assert frames["spectrum"]["normalised"]["variance"] == pytest.approx(24, rel=0.1)
    assert 0 < centroids["spectrum"]["variance_kept"] < 1
    for kind in ("raw", "normalised"):
        ours, theirs = frames["spectrum"][kind], centroids["spectrum"][kind]
        assert 1 <= theirs["effective_rank"] < ours["effective_rank"] <= 24
        assert theirs["variance"] < ours["variance"]
        assert sum(share > 0 for share in theirs["shares"]) <= 15  # 16 centroids span 15 directions


def test_centroids_have_the_tokens_and_the_spectrum_of_their_units_and_fewer_positions(analysed):
    speech, stage, rows = analysed
    store, units, sample = speech.store, speech.units(16), speech.sample()
    for dedup in (True, False):
        of = CentroidsSpeech(units=units, dedup=dedup, downsample=3, sample=sample)
        centroids = store.build(Analysis(speech=of, annotations=stage)).json("analysis.json")
        plain = store.build(Analysis(speech=DiscreteSpeech(units=units, dedup=dedup), annotations=stage))
        plain = plain.json("analysis.json")
        for key in ("distribution", "splits", "seen_less", "spectrum", "compression", "bits_per_second"):
            assert centroids[key] == plain[key]
        lengths = [len(values) for values in of.load(store.open, rows["id"]).values()]
        assert centroids["kind"] == "centroids" and centroids["positions"] == sum(-(-n // 3) for n in lengths)


def test_a_sum_of_layers_that_is_not_learned_yet_has_nothing_to_be_analysed(analysed):
    speech, stage, _ = analysed
    layers, samples = (speech.features(),) * 2, (speech.sample(),) * 2
    several = ContinuousSpeech(features=layers, samples=samples, downsample=2)
    with pytest.raises(StageError, match="weighted sum of layers"):
        speech.store.build(Analysis(speech=several, annotations=stage))


def test_an_analysis_needs_no_training_and_reads_the_codebook_of_its_units(analysed):
    speech, stage, _ = analysed
    units = speech.units(16)
    analysis = Analysis(speech=DiscreteSpeech(units=units, dedup=True), annotations=stage)
    below: list[Stage] = list(walk(analysis))
    assert not any(isinstance(one, Training) for one in below)
    assert {units.codebook, units.codebook.sample, units, stage} <= set(analysis.inputs)
    assert len({one.identity for one in analysis.inputs}) == len(analysis.inputs)
    assert analysis.readable.startswith("intent-") and "k16" in analysis.readable


def test_no_speech_has_nothing_to_be_analysed(analysed):
    speech, stage, _ = analysed
    with pytest.raises(StageError, match="kind 'none' have nothing to be analysed"):
        speech.store.build(Analysis(speech=NoSpeech(), annotations=stage))
