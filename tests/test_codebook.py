"""Codebooks: seeded, judged on frames they never saw, and never collapsed without a word."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import Speech
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from scipy.spatial.distance import cdist

from orchestrator.encoders.spectral import SpectralSpec
from orchestrator.errors import StageError
from orchestrator.stages.annotations import Selection
from orchestrator.stages.codebook import HELD_OUT, Assigner, Codebook, judge, read_centroids
from orchestrator.stages.encoding import to_half
from orchestrator.stages.recordings import Recordings, read_recordings
from orchestrator.stages.sample import Sample, draw, read_sample
from orchestrator.store import Store

CLUSTERS = 12


def clustered(n: int, seed: int = 0) -> np.ndarray:
    """Frames fp16 `[n, 6]` around 12 far centres."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(0, 10, (CLUSTERS, 6))
    return to_half(centres[chance.integers(0, CLUSTERS, n)] + chance.normal(0, 0.3, (n, 6)), 0)


def sample_of(store: Store, frames: np.ndarray, name: str = "some") -> Sample:
    """A sample with known frames."""
    stage = Sample(
        recordings=Recordings(content=name),
        selection=Selection(content=name),
        encoder=SpectralSpec(),
        layer=0,
        frames=len(frames),
    )
    mean, std = frames.mean(0, dtype=np.float32), frames.std(0, dtype=np.float32)
    store.put(
        stage, lambda folder: save_file({"frames": frames, "mean": mean, "std": std}, folder / "sample.safetensors")
    )
    return stage


def fit(store: Store, sample: Sample, k: int, seed: int = 0) -> tuple[np.ndarray, dict]:
    artifact = store.build(Codebook(sample=sample, k=k, codebook_seed=seed))
    return read_centroids(artifact), artifact.json("statistics.json")


def test_the_same_seed_gives_the_same_centroids_and_another_seed_others(store: Store, tmp_path):
    frames = clustered(3000)
    centroids, _ = fit(store, sample_of(store, frames), 8)
    elsewhere = Store(tmp_path / "elsewhere")
    again, _ = fit(elsewhere, sample_of(elsewhere, frames), 8)
    other, _ = fit(store, sample_of(store, frames), 8, seed=1)
    assert np.array_equal(centroids, again)
    assert not np.array_equal(centroids, other)
    assert centroids.shape == (8, 6) and centroids.dtype == np.float32


def test_held_out_inertia_falls_with_k(store: Store):
    sample = sample_of(store, clustered(6000))
    reports = [fit(store, sample, k)[1] for k in (2, 4, 8, 24)]
    inertias = [report["held_out_inertia"] for report in reports]
    assert inertias == sorted(inertias, reverse=True)
    assert inertias[-1] < 0.02 * reports[0]["total_variance"]
    assert all(report["held_out_inertia"] < report["total_variance"] for report in reports)


def test_the_report_is_of_frames_that_were_not_fitted(store: Store):
    frames = clustered(2000)
    sample = sample_of(store, frames)
    centroids, report = fit(store, sample, 6)
    held_out = frames[: int(2000 * HELD_OUT)].astype(np.float64)
    nearest = cdist(held_out, centroids, "sqeuclidean").min(1)
    assert report["held_out_inertia"] == pytest.approx(nearest.mean(), rel=1e-4)
    assert report["frames_fitted"] + report["frames_held_out"] == 2000
    # Other held-out frames change the judgement alone.
    changed = np.concatenate([clustered(len(held_out), seed=5), frames[len(held_out) :]])
    other_centroids, other = fit(store, sample_of(store, changed, "other"), 6)
    assert np.array_equal(other_centroids, centroids)
    assert other["held_out_inertia"] != report["held_out_inertia"]


def test_usage_counts_every_code(store: Store):
    _, report = fit(store, sample_of(store, clustered(3000)), CLUSTERS)
    assert report["used"] + report["dead"] == CLUSTERS
    assert 0 < report["normalised_entropy"] <= 1
    assert report["utilisation"] == report["used"] / CLUSTERS


def test_a_codebook_larger_than_the_sample_is_an_error_with_a_way_out(store: Store):
    sample = sample_of(store, clustered(100))
    with pytest.raises(StageError, match=r"at least 91 frames .* the sample has 90 .*smaller codebook"):
        store.build(Codebook(sample=sample, k=91))
    assert fit(store, sample, 60)[0].shape == (60, 6)


@pytest.mark.parametrize("k", [2, 3, 10])
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_constant_frames_collapse_and_that_is_an_error(store: Store, k: int):
    with pytest.raises(StageError, match="collapsed"):
        store.build(Codebook(sample=sample_of(store, np.ones((500, 4), np.float16)), k=k))
    assert not store.has(Codebook(sample=sample_of(store, np.ones((500, 4), np.float16)), k=k))


def test_two_kinds_of_frames_are_a_codebook_of_two(store: Store):
    frames = np.repeat(np.array([[0, 0], [1, 1]], np.float16), 200, axis=0)[np.random.default_rng(0).permutation(400)]
    centroids, report = fit(store, sample_of(store, frames), 2)
    assert sorted(centroids[:, 0].tolist()) == [0, 1]
    assert report["held_out_inertia"] == 0


@given(
    seed=st.integers(0, 10_000),
    frames=st.integers(1, 300),
    k=st.integers(2, 40),
    dimension=st.integers(1, 50),
    offset=st.floats(-20, 20),
)
@settings(max_examples=60, deadline=None)
def test_assignment_is_the_nearest_centroid(seed: int, frames: int, k: int, dimension: int, offset: float):
    chance = np.random.default_rng(seed)
    x = to_half(chance.normal(offset, 3, (frames, dimension)), 0)
    centroids = chance.normal(offset, 3, (k, dimension)).astype(np.float32)
    codes = Assigner(centroids)(x)
    distances = cdist(x.astype(np.float64), centroids.astype(np.float64), "sqeuclidean")
    chosen = distances[np.arange(frames), codes]
    # Where two are as near as float32 can tell, either is the nearest one.
    scale = np.square(x.astype(np.float64)).sum(1) + np.square(centroids).sum(1).max()
    assert (chosen - distances.min(1) <= 1e-5 * scale).all()
    clear = np.partition(distances, 1)[:, 1] - distances.min(1) > 1e-5 * scale
    assert np.array_equal(codes[clear], distances.argmin(1)[clear])


def test_assignment_does_not_depend_on_what_else_is_assigned():
    x = clustered(700).astype(np.float32)
    assigner = Assigner(clustered(40, seed=3).astype(np.float32))
    whole = assigner(x)
    for block in (1, 7, 64, 699):
        assert np.array_equal(assigner(x, block=block), whole)
    assert np.array_equal(np.concatenate([assigner(part) for part in np.array_split(x, 13)]), whole)
    order = np.random.default_rng(0).permutation(len(x))
    assert np.array_equal(assigner(x[order]), whole[order])
    assert np.array_equal(assigner(x.astype(np.float16)), whole)


def test_judging_by_hand():
    centroids = np.array([[0.0], [10.0], [99.0]], np.float32)
    report = judge(centroids, np.array([[1.0], [9.0]], np.float32), np.array([[2.0]], np.float32))
    assert (report["inertia"], report["held_out_inertia"], report["total_variance"]) == (1.0, 4.0, 9.0)
    assert (report["used"], report["dead"]) == (2, 1)


# The sample that codebooks are fitted on


def test_the_sample_is_of_training_frames_only_in_seeded_order(speech: Speech):
    train = set(speech.store.open(speech.selection).json("ids.json"))
    sample = replace(speech.sample(), frames=10**9)
    every = read_sample(speech.store.build(sample))
    seconds = sum(r.seconds for r in read_recordings(speech.store.open(speech.recordings)) if r.id in train)
    assert len(every["frames"]) == pytest.approx(50 * seconds, rel=0.05)
    some = read_sample(speech.store.open(speech.sample()))["frames"]
    assert len(some) == speech.sample().frames < len(every["frames"])
    rows = {row.tobytes() for row in every["frames"]}
    assert all(row.tobytes() in rows for row in some)
    other = read_sample(speech.store.build(replace(speech.sample(), sample_seed=1)))["frames"]
    assert not np.array_equal(some, other)


def test_the_statistics_of_the_sample_are_those_of_its_frames(speech: Speech):
    every = read_sample(speech.store.build(replace(speech.sample(), frames=10**9)))
    frames = every["frames"].astype(np.float64)
    np.testing.assert_allclose(every["mean"], frames.mean(0), atol=1e-4)
    np.testing.assert_allclose(every["std"], frames.std(0), rtol=1e-4)


def test_the_sample_is_not_in_the_order_of_length_or_time(speech: Speech):
    """Neighbouring frames of speech are alike; neighbours in the sample are strangers."""
    frames = read_sample(speech.store.open(speech.sample()))["frames"].astype(np.float64)
    shuffled = frames[np.random.default_rng(0).permutation(len(frames))]
    neighbours, strangers = (np.square(np.diff(x, axis=0)).sum(1).mean() for x in (frames, shuffled))
    assert neighbours == pytest.approx(strangers, rel=0.1)


def test_utterances_are_drawn_by_seed_until_there_are_enough(speech: Speech):
    recordings = read_recordings(speech.store.open(speech.recordings))
    drawn = draw(recordings, 20.0, 0)
    assert drawn == draw(recordings[::-1], 20.0, 0)
    assert drawn != draw(recordings, 20.0, 1)
    assert 20.0 <= sum(r.seconds for r in drawn) < 20.0 + max(r.seconds for r in recordings)
    assert len(draw(recordings, 1e9, 0)) == len(recordings)
