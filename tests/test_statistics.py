"""Intervals cover, p-values are calibrated, comparisons are paired; a metric of a resample is the metric itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from orchestrator.statistics.estimates import LEVEL, TINY, estimate, holm
from orchestrator.statistics.resampling import Groups, Scores, resampled
from tasks.metrics import HIGHER_IS_BETTER, counts, measure, score

sentences = st.lists(st.sampled_from(["a", "b", "cd", "e.", "f'g"]), min_size=1, max_size=7).map(" ".join)
answers = st.lists(st.sampled_from(["a", "b", "cd", "e.", "h"]), max_size=7).map(" ".join)
labels = st.sampled_from(["yes", "no", "stop", "go"])
sentence_pairs = st.lists(st.tuples(sentences, answers), min_size=2, max_size=8)
label_pairs = st.lists(st.tuples(labels, labels | st.just("")), min_size=2, max_size=12)


def of_speakers(speakers: int, each: int) -> Groups:
    return Groups.make([f"s{i // each}" for i in range(speakers * each)])


def draws_of(groups: Groups, *counted: np.ndarray, metric: str = "wer", resamples: int = 1000) -> list[Scores]:
    return resampled(groups, [(metric, c) for c in counted], resamples)


@pytest.mark.parametrize("metric", list(HIGHER_IS_BETTER))
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_metric_of_summed_counts_is_the_metric_of_the_resampled_texts(metric, data):
    pairs = data.draw(label_pairs if metric in ("accuracy", "macro_f1") else sentence_pairs)
    references, said = zip(*pairs, strict=True)
    counted = counts(metric, references, said)
    assert score(metric, counted.sum(axis=0)) == pytest.approx(measure(metric, references, said), rel=1e-12)
    drawn = data.draw(st.lists(st.integers(0, len(pairs) - 1), min_size=1, max_size=12))
    again = measure(metric, [references[i] for i in drawn], [said[i] for i in drawn])
    weights = np.bincount(drawn, minlength=len(pairs))
    assert score(metric, weights @ counted) == pytest.approx(again, rel=1e-12)
    assert score(metric, np.stack([weights @ counted] * 2)).tolist() == [score(metric, weights @ counted)] * 2


def test_chinese_is_counted_with_its_own_tokenizer():
    references, said = ["请把厨房里的灯打开", "今天老城的天气怎么样呢"], ["请把厨房的灯打开", "今天的天气怎么样"]
    total = counts("bleu", references, said, "zh").sum(axis=0)
    assert score("bleu", total) == pytest.approx(measure("bleu", references, said, "zh"), rel=1e-12)
    assert score("bleu", total) > 0


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(sentences, answers, st.sampled_from("pqr") | st.none()), min_size=2, max_size=9))
def test_the_interval_of_wer_is_that_of_brute_force(rows):
    references, said, speakers = zip(*rows, strict=True)
    groups = Groups.make(speakers)
    (scores,) = resampled(groups, [("wer", counts("wer", references, said))], 200)
    weights = next(groups.draws(200, 200))
    by_hand = []
    for line in weights:
        drawn = [i for group, times in enumerate(line) for i in np.flatnonzero(groups.of == group).tolist() * times]
        by_hand.append(measure("wer", [references[i] for i in drawn], [said[i] for i in drawn]))
    assert scores.draws == pytest.approx(by_hand)
    assert (weights.sum(axis=1) == groups.size).all()
    found = estimate([scores], [], groups.size)
    g = groups.size
    tail = stats.norm.cdf(stats.t.ppf((1 - LEVEL) / 2, g - 1) * np.sqrt(g / (g - 1)))
    expected = np.quantile(by_hand, [tail, 1 - tail])
    assert found.interval == pytest.approx(expected if np.ptp(by_hand) > 1e-9 else (scores.value,) * 2)


@pytest.mark.parametrize("bytes_at_once", [1, 1 << 12, 1 << 26])
def test_resamples_do_not_depend_on_how_many_are_held_at_once(bytes_at_once):
    random = np.random.default_rng(0)
    counted = random.integers(1, 9, size=(30, 2)).astype(float)
    groups = Groups.make([None] * 30)
    (one,) = resampled(groups, [("wer", counted)], 500, bytes_at_once)
    (two,) = resampled(groups, [("wer", counted)], 500)
    assert one.draws.tolist() == two.draws.tolist()


def test_speakers_are_drawn_whole_and_one_speaker_alone_is_no_sample():
    known = Groups.make(["b", "a", "b", "a", "c"])
    assert (known.unit, known.size) == ("speaker", 3)
    assert known.sums(np.eye(5)).sum(axis=1).tolist() == [2, 2, 1]
    for speakers in (["a"] * 4, [None] * 4, ["a", None, None, "a"]):
        assert (Groups.make(speakers).unit, Groups.make(speakers).size) == ("utterance", 4)
    partly = Groups.make(["a", None, "b", None, "a"])
    assert (partly.unit, partly.size) == ("speaker", 4)


def simulated(random: np.random.Generator, speakers: int, each: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Error counts of utterances whose speakers differ: (errors, words) and (right, 1), `[N, 2]` each."""
    rate = np.clip(0.3 + spread * random.standard_normal(speakers), 0.02, 0.98).repeat(each)
    words = random.integers(3, 20, size=speakers * each)
    errors = random.binomial(words, rate)
    right = random.random(speakers * each) > rate
    return np.stack([errors, words], axis=1).astype(float), np.stack([right, np.ones_like(right)], 1).astype(float)


@pytest.mark.parametrize("speakers", [8, 40])
def test_intervals_over_speakers_cover_and_those_over_utterances_do_not(speakers):
    random, each, sets = np.random.default_rng(speakers), 20, 300
    truth = {"wer": 0.3, "accuracy": 0.7}
    hits = {(unit, metric): 0 for unit in ("speaker", "utterance") for metric in truth}
    by_unit = {"speaker": of_speakers(speakers, each), "utterance": Groups.make([None] * (speakers * each))}
    drawn = {unit: next(groups.draws(400, 400)).astype(float) for unit, groups in by_unit.items()}
    for _ in range(sets):
        for metric, counted in zip(truth, simulated(random, speakers, each, 0.08), strict=True):
            for unit, groups in by_unit.items():
                sums = groups.sums(counted)
                scores = Scores(float(score(metric, sums.sum(axis=0))), score(metric, drawn[unit] @ sums))
                low, high = estimate([scores], [], groups.size).interval
                hits[unit, metric] += low <= truth[metric] <= high
    for metric in truth:
        assert 0.90 <= hits["speaker", metric] / sets <= 0.98, hits
    assert hits["utterance", "wer"] / sets < 0.80, hits


@pytest.mark.parametrize("speakers", [6, 60])
def test_p_values_are_uniform_where_arms_are_equal(speakers):
    random, each = np.random.default_rng(speakers + 1), 10
    groups, found = of_speakers(speakers, each), []
    weights = next(groups.draws(400, 400)).astype(float)
    for _ in range(400):
        rate = np.clip(0.3 + 0.1 * random.standard_normal(speakers), 0.02, 0.98).repeat(each)
        words = random.integers(3, 20, size=speakers * each)
        arms = [groups.sums(np.stack([random.binomial(words, rate), words], axis=1).astype(float)) for _ in range(2)]
        one, two = (Scores(float(score("wer", a.sum(axis=0))), score("wer", weights @ a)) for a in arms)
        found.append(estimate([one], [two], groups.size).p)
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) < 0.05) < 0.08


@pytest.mark.parametrize("speakers", [5, 50])
def test_over_equal_speakers_p_is_that_of_a_paired_t_test(speakers):
    random, groups = np.random.default_rng(speakers), of_speakers(speakers, 1)
    one, two = (np.stack([random.normal(5, 1, speakers), np.full(speakers, 10.0)], axis=1) for _ in range(2))
    two[:, 0] += 1.0
    # The speakers as groups of one utterance each; in double precision, since these are no whole numbers.
    weights = next(Groups("speaker", np.arange(speakers), speakers).draws(20000, 20000)).astype(float)
    arms = [Scores(float(score("wer", a.sum(axis=0))), score("wer", weights @ a)) for a in (one, two)]
    found = estimate(arms[:1], arms[1:], groups.size)
    classic = stats.ttest_rel(one[:, 0], two[:, 0])
    t = stats.t.isf(found.p / 2, speakers - 1)
    assert t == pytest.approx(abs(classic.statistic), rel=0.02)
    if speakers == 50:
        low, high = (value / 10 for value in classic.confidence_interval())
        assert found.interval == pytest.approx((low, high), abs=0.05 * (high - low))


def test_pairing_finds_a_difference_that_the_intervals_hide():
    random, groups = np.random.default_rng(3), of_speakers(30, 10)
    counted, _ = simulated(random, 30, 10, 0.2)
    worse = counted + np.array([[1.0, 0.0]]) * (random.random((300, 1)) < 0.3)
    one, two = draws_of(groups, counted, worse)
    (low, high), (other_low, other_high) = (estimate([s], [], groups.size).interval for s in (one, two))
    assert low < other_high and other_low < high
    difference = estimate([two], [one], groups.size)
    assert difference.interval[0] > 0 and difference.p < 1e-6
    mirrored = estimate([one], [two], groups.size)
    assert mirrored.p == pytest.approx(difference.p) and mirrored.value == pytest.approx(-difference.value)
    assert mirrored.interval == pytest.approx((-difference.interval[1], -difference.interval[0]))


def test_the_tail_of_p_goes_on_beyond_the_resamples_and_falls_with_the_distance():
    random, groups = np.random.default_rng(4), Groups.make([None] * 500)
    base = np.stack([random.integers(0, 4, 500), np.full(500, 10)], axis=1).astype(float)
    found = []
    for share in (0.0, 0.02, 0.1, 0.3, 0.6, 0.9):
        one, two = draws_of(groups, base + np.array([[1.0, 0.0]]) * (np.arange(500)[:, None] < 500 * share), base)
        found.append(estimate([one], [two], groups.size).p)
    assert found[0] == 1 and found == sorted(found, reverse=True) and len(set(found)) == len(found)
    assert 0 < found[-1] < 1e-50


def test_degenerate_distributions_have_intervals_of_no_width():
    groups = of_speakers(5, 4)
    perfect = np.tile([0.0, 7.0], (20, 1))
    hopeless = np.tile([7.0, 7.0], (20, 1))
    third = np.tile([1.0, 3.0], (20, 1))
    one, two, three = draws_of(groups, perfect, hopeless, third)
    assert estimate([one], [], 5).interval == (0, 0)
    assert estimate([one], [one], 5).p == 1 and estimate([three], [three], 5).interval == (0, 0)
    apart = estimate([two], [one], 5)
    assert apart.interval == (1, 1) and apart.p == 2**-4  # five signs, all alike
    many = Groups.make([None] * 5000)
    one, two = draws_of(many, np.tile([0.0, 7.0], (5000, 1)), np.tile([7.0, 7.0], (5000, 1)), resamples=10)
    assert estimate([two], [one], 5000).p == TINY


def test_seeds_are_a_sample_too():
    """Over many experiments the mean over three seeds is covered as it should be, though no seed's score is the truth."""
    random, each, speakers, covered, without = np.random.default_rng(5), 10, 30, 0, 0
    groups = of_speakers(speakers, each)
    weights = next(groups.draws(400, 400)).astype(float)
    for _ in range(200):
        seeds = []
        for shift in 0.05 * random.standard_normal(3):
            words = random.integers(3, 20, size=speakers * each)
            errors = random.binomial(words, np.clip(0.3 + shift, 0, 1))
            sums = groups.sums(np.stack([errors, words], axis=1).astype(float))
            seeds.append(Scores(float(score("wer", sums.sum(axis=0))), score("wer", weights @ sums)))
        low, high = estimate(seeds, [], groups.size, (0, 1)).interval
        assert 0 <= low < np.mean([s.value for s in seeds]) < high <= 1
        covered += low <= 0.3 <= high
        one = Scores(np.mean([s.value for s in seeds]), np.mean([s.draws for s in seeds], axis=0))
        low, high = estimate([one], [], groups.size).interval
        without += low <= 0.3 <= high
    assert without / 200 < 0.6 and 0.90 <= covered / 200 <= 0.99, (without, covered)


def test_an_interval_of_a_difference_knows_how_far_apart_two_scores_can_be():
    random, groups = np.random.default_rng(8), of_speakers(4, 5)
    arms = [
        draws_of(groups, *(simulated(random, 4, 5, rate)[0] for rate in rates)) for rates in ((0.1, 0.4), (0.3, 0.6))
    ]
    low, high = estimate(*arms, groups.size, (0.0, 1.0)).interval
    assert -1 <= low < 0 < high <= 1
    low, high = estimate(*arms, groups.size).interval
    assert low < -1 and high > 1


@pytest.mark.parametrize("counts_of_seeds", [(3, 3), (3, 1), (1, 3)])
def test_p_values_with_seeds_are_calibrated(counts_of_seeds):
    random, groups, found = np.random.default_rng(6), of_speakers(20, 10), []
    weights = next(groups.draws(400, 400)).astype(float)
    for _ in range(300):
        arms = []
        words = random.integers(3, 20, size=200)
        for count in counts_of_seeds:
            seeds = []
            for shift in 0.03 * random.standard_normal(count):
                errors = random.binomial(words, np.clip(0.3 + shift, 0, 1))
                sums = groups.sums(np.stack([errors, words], axis=1).astype(float))
                seeds.append(Scores(float(score("wer", sums.sum(axis=0))), score("wer", weights @ sums)))
            arms.append(seeds)
        found.append(estimate(*arms, groups.size).p)
    assert np.mean(np.array(found) < 0.05) < 0.08
    assert np.mean(np.array(found) < 0.5) == pytest.approx(0.5, abs=0.1)


def test_seeds_are_averaged_on_the_same_resamples_in_any_order():
    random, groups = np.random.default_rng(7), of_speakers(12, 5)
    seeds = draws_of(groups, *(simulated(random, 12, 5, 0.1)[0] for _ in range(3)))
    one, two = estimate(seeds, [], 12), estimate(seeds[::-1], [], 12)
    assert one.value == pytest.approx(np.mean([s.value for s in seeds])) and one.interval == pytest.approx(two.interval)
    same = estimate([seeds[0]] * 2, [seeds[0]], 12)
    assert same.value == 0 and same.p == 1 and same.interval == (0, 0)


def test_holm_by_hand():
    # Three times the smallest, twice the next but no less than that, once the last.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.02, 0.02]) == pytest.approx([0.04, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == [] and holm([0.3]) == [0.3]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms())
def test_holm_lies_between_the_single_and_the_bonferroni_p_in_any_order(ps, random):
    found = holm(ps)
    assert all(p <= q <= min(1, p * len(ps)) + 1e-15 for p, q in zip(ps, found, strict=True))
    order = random.sample(range(len(ps)), len(ps))
    assert holm([ps[i] for i in order]) == pytest.approx([found[i] for i in order])
