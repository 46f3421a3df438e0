"""The verdict says what was computed, in the numbers of the table, and nothing else."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_comparisons import CONTINUOUS, DISCRETE, Space, predictions
from test_matrix import demo, record, spaces

from orchestrator.matrix import Matrix
from orchestrator.report.contest import contests
from orchestrator.report.places import places
from orchestrator.report.verdict import Verdict, verdict
from orchestrator.statistics import judged

SEVEN = DISCRETE | {"codebook": 7}
CENTROIDS = {"features": "centroids", "downsample": 2, "codebook": 100, "codebook_seed": 0}


@pytest.fixture
def space(tmp_path) -> Space:
    return Space(tmp_path / "statistics")


def matrix_of(space: Space) -> Matrix:
    return Matrix("s", judged(space.records, space.read, space._folder, resamples=300))


def told(of: Space | list[dict] | Matrix) -> tuple[str, dict[str, str]]:
    """The headline, and title → sentence."""
    matrix = matrix_of(of) if isinstance(of, Space) else of if isinstance(of, Matrix) else Matrix("s", of)
    found = verdict(matrix)
    assert len(dict(found.sentences)) == len(found.sentences)
    return found.headline, dict(found.sentences)


def test_a_lead_that_chance_does_not_explain_is_a_win_with_its_numbers(space):
    base = space.add(predictions(0.1), **CONTINUOUS)
    arm = space.add(predictions(0.6), **DISCRETE)
    space.add(predictions(0.8), **SEVEN)
    matrix = matrix_of(space)
    headline, said = told(matrix)
    assert headline == "Continuous features win on asr."
    found = matrix.cells[1]["results"][0]["comparison"]
    low, high = (f"{100 * end:.1f}" for end in found["interval"]["wer"])
    gap = f"{100 * (arm['metrics']['wer'] - base['metrics']['wer']):.1f}"
    assert said["asr"].startswith(f"Continuous features win with {100 * base['metrics']['wer']:.1f} % word error rate")
    assert f"The best discrete tokens (codebook 100) reach {100 * arm['metrics']['wer']:.1f} %" in said["asr"]
    assert f"{gap} percentage points behind (95 % interval {low} to {high}), more than chance explains" in said["asr"]
    assert (
        "Against continuous features, both discrete configurations are worse by more than chance explains."
        in said["asr"]
    )
    assert "10 speakers" in said["certainty"] and "trained once" in said["certainty"]
    assert "picked on the test set itself" in said["certainty"]  # of two codebooks


def test_it_does_not_matter_which_arm_wins_or_which_way_the_metric_points(space):
    space.add(predictions(0.8, task="keyword"), task="keyword", **CONTINUOUS)
    space.add(predictions(0.1, task="keyword"), task="keyword", **DISCRETE)
    matrix = matrix_of(space)
    headline, said = told(matrix)
    low, high = matrix.cells[1]["results"][0]["comparison"]["interval"]["accuracy"]
    assert headline == "Discrete tokens win on keyword."  # at 100 % of the bits of this record, which is no news
    assert f"(95 % interval {100 * low:.1f} to {100 * high:.1f}), more than chance" in said["keyword"] and low > 0


def test_where_the_test_set_cannot_tell_nobody_wins(space):
    space.add(predictions(0.30), **CONTINUOUS)
    arm = space.add(predictions(0.34), **DISCRETE)
    arm["cost"]["bits_per_second"] = 20.0
    matrix = matrix_of(space)
    headline, said = told(matrix)
    assert matrix.cells[1]["results"][0]["comparison"]["p_holm"]["wer"] >= 0.05
    assert "may be chance" in headline and "at 12 % of the bits" in headline and " win" not in headline
    assert "score best" in said["asr"] and "can't tell this from chance" in said["asr"]


def test_configurations_that_were_not_compared_get_no_significance(space):
    space.add(predictions(0.1), **CONTINUOUS, encoder="wavlm")
    space.add(predictions(0.6), **CONTINUOUS, encoder="hubert")
    space.add(predictions(0.3), **DISCRETE, encoder="hubert")
    headline, said = told(space)
    assert "but the best of each kind were not compared with each other" in headline
    first = said["asr"].split("Against")[0]
    assert "they were not compared with each other" in first and "chance" not in first
    assert "Continuous features (wavlm) score best" in first and "discrete tokens (hubert)" in first.lower()


def test_a_missing_baseline_is_said_as_the_reason(space):
    space.add(predictions(0.1), **CONTINUOUS, encoder="wavlm")
    missing = space.add(None, **CONTINUOUS, encoder="hubert")
    space.add(predictions(0.6), **DISCRETE, encoder="hubert")
    headline, said = told(space)
    assert headline.startswith("With 2 of 3 cells finished, continuous features score best on asr")
    assert f"not compared with each other: its baseline {missing['cell']} is missing" in said["asr"]
    assert "This is provisional: continuous features (hubert) are missing" in said["asr"]
    assert said["not finished"].startswith("1 of 3 cells have no result.")


def test_without_statistics_nothing_is_said_about_chance():
    headline, said = told(demo())
    assert headline == (
        "With 27 of 30 cells finished, continuous features score best on 6 of 6 tasks, but how sure that is was not "
        "computed."
    )
    text = " ".join(said.values())
    assert "win" not in re.findall(r"\w+", text) and "chance" not in text and "p <" not in text
    assert "Intervals and significance were not computed." in said["certainty"]
    assert list(said)[:6] == ["asr", "phoneme", "translation de", "intent", "keyword", "emotion"]
    assert "discrete tokens (codebook 250, bpe 500) failed" in said["asr"]
    assert "diverged at step 210" in said["not finished"] and "out of date" in said["intent"]
    assert "discrete tokens (codebook 250, bpe 500) do no better" in said["emotion"]  # than guessing
    assert "Training of discrete tokens (codebook 100, no bpe) was cut off by its budget" in said["asr"]
    assert "1 of 27 trainings (on asr) ended by the budget" in said["training"]


def test_scores_of_other_test_sets_are_never_ranked(space):
    space.add(predictions(0.2), **CONTINUOUS)
    space.add(predictions(0.0, seed=1), **DISCRETE)  # as many, but other utterances; the best by far
    space.add(predictions(0.1, n=59), **SEVEN)
    space.add(predictions(0.6), **(DISCRETE | {"codebook": 9}))
    matrix = matrix_of(space)
    headline, said = told(matrix)
    assert headline == "Continuous features win on asr."
    assert "Discrete tokens (codebook 100) and discrete tokens (codebook 7) (0.0 % and " in said["asr"]
    assert "not ranked: their test set is another one" in said["asr"]
    assert "Discrete tokens (codebook 9) reach" in said["asr"]


def test_the_control_between_the_arms_keeps_its_own_sentence(space):
    space.add(predictions(0.1), **CONTINUOUS)
    space.add(predictions(0.12), **CENTROIDS)
    space.add(predictions(0.7), **DISCRETE)
    headline, said = told(space)
    assert "centroids come within" in headline and " win" not in headline
    tokens, control = said["asr"].index("Discrete tokens reach"), said["asr"].index("Centroids reach")
    assert tokens < control and "Centroids are the codes' own vectors" in said["words"]


def test_seeds_are_told_with_their_spread(space):
    for s in range(3):
        space.add(predictions(0.10 + 0.02 * s), **CONTINUOUS, seed=s)
        space.add(predictions(0.70 + 0.02 * s) if s < 2 else None, **DISCRETE, seed=s)
    matrix = matrix_of(space)
    _, said = told(matrix)
    mean, spread = matrix.layout.entries[0][0].text.split(" ±")
    assert f"{mean} % word error rate on average over 3 seeds (standard deviation {spread};" in said["asr"]
    assert "Discrete tokens reach" in said["asr"] and "on average over 2 seeds" in said["asr"]
    assert "discrete tokens lack some of their seeds" in said["asr"]
    assert "means over up to 3 seeds" in said["certainty"] and "trained once" not in said["certainty"]


def test_a_lead_that_only_a_missing_seed_makes_is_no_win(space):
    for s, wrong in enumerate((0.1, 0.1, 1.0)):
        space.add(predictions(wrong), **CONTINUOUS, seed=s)
        space.add(predictions(0.3) if s < 2 else None, **DISCRETE, seed=s)
    headline, said = told(space)
    assert "discrete tokens score best on asr, but over the seeds that both have it is the other way round" in headline
    assert "chance" not in said["asr"] and " win" not in headline + said["asr"]


def test_a_tie_within_a_kind_takes_no_win_from_it(space):
    space.add(predictions(0.7), **CONTINUOUS)
    space.add(predictions(0.1), **DISCRETE)
    space.add(predictions(0.1), **SEVEN)
    headline, said = told(space)
    assert headline == "Discrete tokens win on asr."
    assert said["asr"].startswith("Discrete tokens (codebook 100) and discrete tokens (codebook 7) tie at 7.7 %")
    assert "Continuous features reach" in said["asr"] and "more than chance explains" in said["asr"]


def test_costs_of_convergence_are_told_only_of_trainings_that_converged():
    def arm(stopped: str, flops: float, **given) -> dict:
        one = record(stopped=stopped, **given)
        one["cost"] |= {"flops_to_best": flops, "seconds_to_best": flops * 3, "trials_at_once": 1}
        return one

    both = [arm("plateau", 4.0, **CONTINUOUS, value=0.1), arm("plateau", 1.0, **DISCRETE, value=0.2)]
    told_both = told(both)[1]
    assert (
        "took 25 % of the computation (FLOPs) and 25 % of the training time of continuous features." in told_both["asr"]
    )
    assert "training" not in told_both
    for stops in (("budget", "plateau"), ("plateau", "budget"), ("budget", "budget")):
        cells = [arm(stops[0], 4.0, **CONTINUOUS, value=0.1), arm(stops[1], 1.0, **DISCRETE, value=0.2)]
        said = told(cells)[1]
        assert "FLOPs" not in " ".join(said.values())
        assert f"{stops.count('budget')} of 2 trainings ended by the budget" in said["training"]


def test_the_price_of_a_second_of_speech_is_told_of_the_best_of_either_arm():
    cheap, dear = record(**DISCRETE, value=0.2), record(**CONTINUOUS, value=0.1)
    cheap["cost"] |= {"tokens_per_second_of_audio": 30.0, "bits_per_second": 250.0, "rtf": 0.02}
    dear["cost"] |= {"tokens_per_second_of_audio": 15.0, "bits_per_second": 100_000.0, "rtf": 0.01}
    _, said = told([dear, cheap])
    assert "30 tokens and 250 bits as discrete tokens, 15 vectors and 100 k bits as continuous features" in said["cost"]
    assert "2.0 times as long, in 0.25 % of the bits" in said["cost"]
    assert "0.02 s with discrete tokens and 0.01 s with continuous features" in said["cost"]


@pytest.mark.parametrize(
    ("cells", "headline"),
    [
        ([], "There are no cells."),
        ([record("missing"), record("failed", "boom", layer=2)], "No answer yet: none of 2 cells has a result."),
        (
            [record()],
            "Only continuous features have scores, so there is no other kind of features to compare them with.",
        ),
        ([record(features="none")], "No configuration that hears speech has a score yet."),
        ([record(value=0.3), record(value=0.3, **DISCRETE)], "On asr all configurations score the same."),
        ([record(value=1.1), record(value=1.0, **DISCRETE)], "On asr nothing beats guessing."),
        (
            [record(value=0.3), record(value=0.3, **DISCRETE), record(value=0.4, **SEVEN)],
            "On asr the best configurations tie.",
        ),
    ],
)
def test_spaces_without_a_contest_say_so(cells, headline):
    found, said = told(cells)
    assert found == headline
    assert ("asr" in said) == bool(cells)


def test_a_single_test_utterance_decides_nothing(space):
    space.add(predictions(0.0, n=1), **CONTINUOUS)
    space.add(predictions(1.0, n=1), **DISCRETE)
    headline, said = told(space)
    assert (
        " win" not in headline and "not compared with each other: a single utterance can't be resampled" in said["asr"]
    )
    assert said["certainty"].startswith("There are no intervals: a single utterance can't be resampled.")


def test_one_arm_alone_is_ranked_within_itself():
    _, said = told([record(value=0.3, **DISCRETE), record(value=0.2, **SEVEN)])
    assert "Discrete tokens (codebook 7) score best, with 20.0 % word error rate." in said["asr"]
    assert "Next, discrete tokens (codebook 100) reach 30.0 %, 10.0 percentage points behind." in said["asr"]


def test_a_test_set_is_a_column_and_is_counted_as_one():
    cells = [record(value=0.1, **CONTINUOUS), record(value=0.2, **DISCRETE)]
    for cell, value in zip(cells, (0.4, 0.3), strict=True):
        cell["results"].append(cell["results"][0] | {"test_set": "other", "metrics": {"wer": value}})
    headline, said = told(cells)
    assert headline.startswith("Continuous features score best on 1 of 2 test sets")
    assert "discrete tokens score best on asr other" in headline
    assert said["asr test"].startswith("Continuous") and said["asr other"].startswith("Discrete")


def test_the_published_order_is_counted():
    def published(value: float, figure: float, **arm) -> dict:
        return record(value=value, **arm) | {
            "reference": [{"test_set": "test", "metric": "wer", "value": figure, "grade": "S"}]
        }

    cells = [
        published(0.1, 0.05, **CONTINUOUS),
        published(0.2, 0.04, **DISCRETE),
        published(0.3, 0.06, **SEVEN),
    ]
    assert "2 of 3 pairs of rows stand in the published order." in told(cells)[1]["asr"]


def test_differences_that_round_to_nothing_are_not_called_nought():
    _, said = told([record(value=0.10001, **CONTINUOUS), record(value=0.10002, **DISCRETE)])
    assert "less than 0.1 percentage points behind" in said["asr"]


@given(spaces)
@settings(max_examples=60)
def test_every_matrix_has_a_verdict_in_the_numbers_of_its_table(cells):
    matrix = Matrix("s", cells)
    found = verdict(matrix)
    titles = [column.title for column in matrix.layout.columns]
    assert [title for title, _ in found.sentences][: len(titles)] == titles
    for column, (_, text) in zip(matrix.layout.columns, found.sentences, strict=False):
        assert text.endswith(".") and ".." not in text
        shown = {column.text(e.value) for line in matrix.layout.entries for e in line if e.value is not None}
        for number in re.findall(r"(?:with|reach|gets|score|score:|at) (-?[\d.]+) %", text):
            assert number in shown
    assert found.headline.endswith(".") and not re.search(r"\bwin\b", found.text)
    assert found.text.startswith(found.headline) and len(found.markdown) >= len(found.headline)


@given(spaces)
@settings(max_examples=60)
def test_every_record_stands_behind_one_place(cells):
    layout = Matrix("s", cells).layout
    lines = places(layout, cells)
    first = {column.key: c for c, column in reversed(list(enumerate(layout.columns)))}
    found = sorted(cell["cell"] for line in lines for c in first.values() for cell in line[c].cells)
    assert found == sorted(cell["cell"] for cell in cells)
    for line in lines:
        for place in line:
            # A score that is no number is no score, and the baseline has no records.
            assert place.entry.status in {"missing"} | ({cell["status"] for cell in place.cells} or {"absent", "ok"})


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_markdown_shows_names_as_they_are(name):
    title = " ".join(f"a {name} b".split())
    shown = Verdict("Head", [(title, "text")]).markdown.splitlines()[-1]
    inner = shown.removeprefix("- **").removesuffix("**: text")
    assert re.sub(r"\\([\\`*_<\[\]|])", r"\1", inner) == title
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_<\[\]|]", inner)


def test_a_large_grid_is_told_quickly_and_in_few_words():
    cells = [
        record(task="asr", layer=layer, codebook=k, seed=seed, value=0.1 + layer / 100 + k / 1e6, **arm)
        for layer in range(10)
        for k in range(1, 16)
        for seed in range(2)
        for arm in ({"features": "discrete", "codebook_seed": 0, "dedup": True}, {"features": "continuous"})
    ]
    matrix = Matrix("large", cells)
    assert len(matrix.layout.rows) > 290 and len(verdict(matrix).text) < 3000
    (one,) = contests(matrix.layout, places(matrix.layout, matrix.cells))
    assert [place.entry.value for place in one.ranked] == sorted(place.entry.value for place in one.ranked)
