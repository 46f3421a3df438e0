"""What runs carry for people to look at: groups, views, predictions, corpora. With the real MLflow on SQLite."""

import base64
import json
import zlib
from pathlib import Path

import pandas as pd
import pytest
from conftest import children
from test_matrix import demo, record

from orchestrator.tracking import Material, links
from orchestrator.tracking.inputs import Input
from orchestrator.tracking.predictions import ROWS, table
from orchestrator.tracking.tags import GROUPS, NOTE, PREDICTIONS
from orchestrator.tracking.values import NUMBERS
from orchestrator.tracking.views import TAG

AXES = {"epoch": 1.0, "tokens": 10, "seconds": 0.5}


def test_runs_can_be_grouped_by_what_they_have_in_common(tracker, state):
    arm = {"features": "discrete", "codebook": 100, "bpe": 500}
    for task, seed in (("asr", 0), ("asr", 1), ("keyword", 0)):
        tracker.log_cell(record(task=task, seed=seed, **arm))
    tracker.log_cell(record(features="none"))
    tags = [run.data.tags for run in children(tracker, state)]
    assert sorted(one["tokengrid.configuration"] for one in tags) == ["discrete apc/1 k100 bpe500"] * 3 + ["none"]
    assert sorted(one["tokengrid.codebook"] for one in tags) == ["100"] * 3 + ["–"]
    for one in tags:
        assert all(one[f"tokengrid.{name}"] for name in GROUPS)


def test_a_view_has_charts_of_metrics_and_parameters_that_runs_have(tracker, state):
    cells = demo(tracker.space).cells
    tracker.present("Which?", cells)
    for cell in cells[:5]:
        tracker.log_cell(cell, Material([{"step": 1, "dev_error": 0.5, "train_loss": 1.0, **AXES}]))
    experiment = state.client.get_experiment(tracker.experiment)
    shown = {key.removeprefix(TAG): json.loads(value) for key, value in experiment.tags.items() if key.startswith(TAG)}
    assert len(shown) == 7 and {"all-tasks", "asr-synthetic-wer", "translation-de-synthetic-bleu"} < set(shown)
    asr = shown["asr-synthetic-wer"]
    view = json.loads(zlib.decompress(base64.b64decode(asr["state"].removeprefix("deflate;"))))
    runs = state.client.search_runs([tracker.experiment], view["searchFilter"], order_by=[f"{view['orderByKey']} ASC"])
    assert len(runs) == 4 + 1 and {run.data.params["task"] for run in runs} == {"asr"}
    metrics, params = {m for run in runs for m in run.data.metrics}, set(runs[0].data.params)
    sections = {section["uuid"] for section in view["compareRunSections"]}
    for chart in view["compareRunCharts"]:
        assert chart["metricSectionId"] in sections
        assert set(chart.get("selectedMetricKeys", [])) | set(chart.get("selectedMetrics", [])) <= metrics
        assert set(chart.get("selectedParams", [])) <= params
    (parallel,) = [chart for chart in view["compareRunCharts"] if chart["type"] == "PARALLEL"]
    assert parallel["selectedParams"] == ["features", "codebook", "bpe"]
    found = [link for link in links(tracker.uri, "http://127.0.0.1:5000/") if link.space == tracker.space]
    assert [link.view for link in found][:2] == ["All tasks", "asr synthetic wer"] and len(found) == len(shown)
    assert found[0].address.startswith(f"http://127.0.0.1:5000/#/experiments/{tracker.experiment}/runs?")


@pytest.mark.parametrize("corpus", ["it's mine", "say 'yes' \"or\" no", "50% of_it"])
def test_a_view_finds_its_runs_whatever_the_corpus_is_called(tracker, state, corpus):
    mine, other = record(corpus=corpus), record(corpus="another")
    tracker.present("", [mine, other])
    runs = [tracker.log_cell(one) for one in (mine, other)]
    for key, value in state.client.get_experiment(tracker.experiment).tags.items():
        if key.startswith(TAG) and "all-tasks" not in key:
            packed = json.loads(value)["state"].removeprefix("deflate;")
            query = json.loads(zlib.decompress(base64.b64decode(packed)))["searchFilter"]
            (found,) = state.client.search_runs([tracker.experiment], query)
            assert found.info.run_id == runs["another" in key]


def test_no_parameter_of_words_is_empty_since_parallel_coordinates_leave_out_such_runs(tracker, state):
    for arm in (
        {"features": "none"},
        {"features": "continuous"},
        {"features": "discrete", "codebook": 9, "dedup": True},
    ):
        tracker.log_cell(record(**arm))
    for run in children(tracker, state):
        for name, value in run.data.params.items():
            assert value != "" or name in NUMBERS
            assert name not in NUMBERS or value == "" or float(value) >= 0


def test_a_description_that_somebody_has_rewritten_stays(tracker, state):
    tracker.present("Which?", [record()])
    assert "Which?" in state.client.get_experiment(tracker.experiment).tags[NOTE]
    tracker.present("Which one?", [record()])
    assert "Which one?" in state.client.get_experiment(tracker.experiment).tags[NOTE]
    state.client.set_experiment_tag(tracker.experiment, NOTE, "mine")
    tracker.present("Which?", [record()])
    assert state.client.get_experiment(tracker.experiment).tags[NOTE] == "mine"


@pytest.fixture
def answers(tmp_path):
    """A file of predictions of two test sets and dev, with an utterance that could not be heard."""

    def write(utterances: int) -> Path:
        rows = [
            {"id": f"{split}-{i:05}", "split": split, "speaker": None, "reference": "a b c d"}
            | {"answer": "a b x d" if i % 2 else "a b c d", "error": None}
            for split in ("dev", "test-a", "test-b")
            for i in range(utterances)
        ]
        rows[-1] |= {"answer": "", "error": "it can't be decoded"}
        pd.DataFrame(rows).to_parquet(tmp_path / "predictions.parquet", index=False)
        return tmp_path / "predictions.parquet"

    return write


def of_two_sets(**given):
    one = record(**given)
    one["results"] = [{**one["results"][0], "test_set": name} for name in ("test-a", "test-b")]
    return one


def test_predictions_are_a_table_with_the_error_of_every_utterance(tracker, state, answers):
    path = answers(4)
    run = tracker.log_cell(of_two_sets(), Material(predictions=path))
    table = pd.read_json(state.client.download_artifacts(run, "predictions.json"), orient="split")
    assert list(table) == ["id", "answer", "reference", "error", "test_set", "problem"]
    assert table["test_set"].tolist() == ["test-a"] * 4 + ["test-b"] * 4 and table["error"].tolist() == [
        0,
        0.25,
    ] * 3 + [0, 1]
    assert table["problem"].tolist() == [""] * 7 + ["it can't be decoded"]
    assert state.client.get_run(run).data.tags[PREDICTIONS] == "all 8 utterances"
    assert Path(state.client.download_artifacts(run, "predictions.parquet")).read_bytes() == path.read_bytes()


def test_a_large_test_set_shows_the_same_part_in_every_cell_and_says_so(answers):
    first, told = table(answers(ROWS), of_two_sets())
    second, _ = table(answers(ROWS), of_two_sets(layer=2))
    assert len(first) == ROWS and told == f"{ROWS} of {2 * ROWS} utterances, spread evenly over their ids"
    assert first["id"].tolist() == second["id"].tolist() and set(first["test_set"]) == {"test-a", "test-b"}


def test_corpora_are_inputs_in_the_context_of_their_splits(tracker, state):
    content, source = ("recordings", "annotations"), {"reader": "librispeech", "folder": "/data/ls"}
    inputs = tuple(
        Input("ls", split, "text", content, source, {"utterances": 5, "hours": 0.5})
        for split in ("train", "dev", "test-clean", "test-other")
    )
    run = tracker.log_cell(record(), Material(inputs=inputs))
    found = state.client.get_run(run).inputs.dataset_inputs
    assert {(one.dataset.name, one.tags[0].value) for one in found} == {
        ("ls train", "training"),
        ("ls dev", "validation"),
        ("ls test-clean", "test"),
        ("ls test-other", "test"),
    }
    assert len({one.dataset.digest for one in found}) == 4
    assert json.loads(found[0].dataset.source) == {"corpus": "ls", **source}
    assert json.loads(found[0].dataset.profile) == {"num_rows": 5, "utterances": 5, "hours": 0.5}
