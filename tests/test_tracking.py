"""MLflow shows what the records say, once, however often it is logged. With the real MLflow on SQLite."""

import math
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import children
from mlflow import MlflowClient
from test_matrix import demo, record

from orchestrator.errors import UserError
from orchestrator.matrix import COORDINATES, Matrix
from orchestrator.report import drawable
from orchestrator.tracking import Material, Tracker, client
from orchestrator.tracking.tags import CELL, LAUNCH, NOTE, REASON, SUPERSEDED
from orchestrator.tracking.values import param

CURVE = [{"step": 20 * i, "epoch": i / 2, "train_loss": 3 / (i + 1), "dev_loss": 4 / (i + 1)} for i in range(600)]


def everything(tracker, state):
    """All that MLflow knows of the experiment, histories included."""
    runs = state.client.search_runs([tracker.experiment])
    return {
        run.info.run_id: (
            *(run.info.status, run.info.start_time, run.info.end_time, run.data.params, run.data.tags),
            {
                k: [(p.step, p.value) for p in state.client.get_metric_history(run.info.run_id, k)]
                for k in run.data.metrics
            },
        )
        for run in runs
    }


def test_a_launch_shows_its_cells_parameters_curves_and_matrix(tracker, state):
    matrix = demo(tracker.space)
    parent = tracker.start("launch-1", {"space": "demo", "local": True})
    for cell in matrix.cells:
        tracker.log_cell(cell, Material(CURVE[:3] if cell["status"] == "ok" else (), identity="f" * 16))
    tracker.finish(matrix)

    runs = children(tracker, state)
    by_cell = {run.data.tags[CELL]: run for run in runs}
    assert set(by_cell) == {c["cell"] for c in matrix.cells if c["status"] in ("ok", "failed")}
    assert len(runs) == len(by_cell) == 28
    for cell in matrix.cells:
        if cell["cell"] not in by_cell:
            continue
        run = by_cell[cell["cell"]]
        assert run.data.tags["mlflow.parentRunId"] == parent
        assert run.data.params == {name: param(name, cell[name]) for name in COORDINATES}
        if cell["status"] == "failed":
            assert run.info.status == "FAILED" and run.data.tags[REASON] == cell["reason"] and not run.data.metrics
        else:
            assert run.info.status == "FINISHED"
            assert run.data.metrics["primary"] == cell["metrics"][cell["primary"]]
            assert run.data.metrics["cost/steps"] == 420 and f"dev/{cell['primary']}" in run.data.metrics
            for name, value in cell["metrics"].items():
                assert run.data.metrics[f"test/{name}"] == value
            assert run.info.end_time - run.info.start_time == 31_250

    files = {file.path for file in state.client.list_artifacts(parent)}
    assert files == {"matrix.csv", "matrix.json", "matrix.md", "matrix.html", "matrix.tex", "figures"}
    copy = Path(state.client.download_artifacts(parent, "matrix.json")).read_text("utf-8")
    assert copy == matrix.to_json()
    assert state.client.get_run(parent).info.status == "FAILED"
    assert "WER" in state.client.get_run(parent).data.tags["mlflow.note.content"]


def test_logging_again_changes_nothing(tracker, state):
    cells = [record(layer=1), record("failed", "boom", layer=2), record("missing", layer=3)]
    matrix = Matrix(tracker.space, cells)

    def launch():
        one = Tracker(None, state.root, tracker.space)
        one.start("again", {"seconds": 1.5})
        ids = [one.log_cell(cell, Material(CURVE, identity="a")) for cell in cells]
        one.finish(matrix)
        return ids

    first = launch()
    before = everything(tracker, state)
    assert first[2] is None
    assert launch() == first
    after = everything(tracker, state)
    parent = state.client.search_runs([tracker.experiment], f"tags.`{LAUNCH}` = 'again'")[0].info.run_id
    assert set(after) == set(before) and len(after) == 3
    assert all(after[run] == before[run] for run in after if run != parent)
    assert after[parent][3:] == before[parent][3:]


def test_a_cell_of_an_earlier_launch_stays_one_run(tracker, state):
    first = tracker.start("monday")
    run = tracker.log_cell(record(), Material(CURVE[:2]))
    later = Tracker(None, state.root, tracker.space)
    second = later.start("tuesday")
    assert first != second
    assert later.log_cell(record(), Material(CURVE[:2])) == run
    later.log_cell(record(layer=2))
    parents = {run.data.tags["mlflow.parentRunId"] for run in children(tracker, state)}
    assert len(children(tracker, state)) == 2 and parents == {first, second}


def test_two_launches_at_the_same_time_make_one_run_of_a_cell(tracker, state):
    other = Tracker(None, state.root, tracker.space)
    tracker.start("one")
    other.start("two")
    ours, theirs = tracker.log_cell(record()), tracker.log_cell(record(layer=2))
    # Both have looked what is there before the other wrote.
    other._logged = {}
    assert other.log_cell(record()) == ours and other.log_cell(record(layer=2)) == theirs
    assert len(children(tracker, state)) == 2


def test_a_mended_cell_replaces_the_run_that_failed(tracker, state):
    tracker.start("one")
    failed = tracker.log_cell(record("failed", "no space left"))
    mended = tracker.log_cell(record(value=0.2), Material(identity="b"))
    again = tracker.log_cell(record(value=0.1), Material(identity="c"))
    (only,) = children(tracker, state)
    assert only.info.run_id == again and only.info.status == "FINISHED" and REASON not in only.data.tags
    for gone, by in ((failed, mended), (mended, again)):
        run = state.client.get_run(gone)
        assert run.info.lifecycle_stage == "deleted" and run.data.tags[SUPERSEDED] == by


def test_a_run_that_was_interrupted_half_way_is_replaced(tracker, state, monkeypatch):
    tracker.start("one")
    with monkeypatch.context() as broken:
        broken.setattr(tracker._client, "log_dict", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tracker.log_cell(record(), Material(CURVE[:2]))
    whole = Tracker(None, state.root, tracker.space).log_cell(record(), Material(CURVE[:2]))
    assert [run.info.run_id for run in children(tracker, state)] == [whole]


def test_a_curve_of_any_length_arrives_whole_and_without_values_that_are_no_numbers(tracker, state):
    curve = [*CURVE, {"step": 99_999, "epoch": 300, "train_loss": math.nan, "dev_loss": math.inf, "note": "end"}]
    run = tracker.log_cell(record(value=math.nan), Material(curve))
    losses = state.client.get_metric_history(run, "curve/dev_loss")
    assert sorted((p.step, p.value) for p in losses) == [(row["step"], row["dev_loss"]) for row in CURVE]
    assert len(state.client.get_metric_history(run, "progress/epoch")) == len(curve)
    metrics = state.client.get_run(run).data.metrics
    assert "primary" not in metrics and all(map(math.isfinite, metrics.values()))


def test_names_and_reasons_that_mlflow_would_refuse_are_logged(tracker, state):
    cell = record(value=0.2)
    cell["results"][0]["test_set"] = "test-other (far) @8k"
    assert "test-other _far_ _8k/wer" in state.client.get_run(tracker.log_cell(cell)).data.metrics
    long = record("failed", "x" * 20_000, layer=2)
    assert state.client.get_run(tracker.log_cell(long)).data.tags[REASON].endswith("(cut)")


def test_artifacts_lie_in_the_state_folder(tracker, state):
    run = tracker.log_cell(record())
    found = {path.name for path in (state.root / "mlartifacts" / run).rglob("*") if path.is_file()}
    assert found == {"cell.json"}


def test_a_store_that_was_copied_leaves_the_one_that_it_came_from_alone(state, tmp_path):
    first = Tracker(None, tmp_path / "first", "copied")
    run = first.log_cell(record())
    before = {path: path.read_bytes() for path in (tmp_path / "first").rglob("*") if path.is_file()}
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    second = Tracker(None, tmp_path / "second", "copied")
    assert second.log_cell(record()) == run
    new = second.log_cell(record(layer=2))
    assert {path.parent.parent.name for path in (tmp_path / "second").rglob("cell.json")} == {run, new}
    client = MlflowClient(tracking_uri=second.uri)
    assert {one.path for one in client.list_artifacts(run)} == {"cell.json"}
    assert client.get_run(run).info.artifact_uri.startswith((tmp_path / "second").as_uri())
    assert {path: path.read_bytes() for path in (tmp_path / "first").rglob("*") if path.is_file()} == before


def test_a_deleted_experiment_comes_back(tracker, state):
    state.client.delete_experiment(tracker.experiment)
    again = Tracker(None, state.root, tracker.space)
    assert again.experiment == tracker.experiment
    again.start("one")
    assert again.log_cell(record())


def test_an_interrupted_launch_says_so_and_goes_on_as_the_same_run(tracker, state):
    parent = tracker.start("one", {"only": "task=asr"})
    tracker.finish(Matrix(tracker.space, [record("missing")]), interrupted=True)
    assert state.client.get_run(parent).info.status == "KILLED"
    assert tracker.start("one", {"only": "task=asr", "local": True}) == parent
    assert state.client.get_run(parent).info.status == "RUNNING"
    assert state.client.get_run(parent).data.params == {"only": "task=asr", "local": "true"}
    tracker.finish(Matrix(tracker.space, [record()]))
    assert state.client.get_run(parent).info.status == "FINISHED"


def test_the_environment_names_the_place_unless_it_is_given(state, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{state.root}/mlflow.db")
    assert Tracker(None, tmp_path, "elsewhere").uri.endswith(f"{state.root}/mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize("uri", ["./mlruns", "http://127.0.0.1:9", "nonsense://x"])
def test_a_place_that_mlflow_cannot_use_is_the_user_s_to_mend(tmp_path, uri):
    since = time.monotonic()
    with pytest.raises(UserError, match="mlflow server"):
        Tracker(uri, tmp_path, "demo")
    assert time.monotonic() - since < 30


def test_a_misspelt_scheme_gets_the_nearest_one(tmp_path):
    with pytest.raises(UserError, match="did you mean 'sqlite'"):
        Tracker("sqlit:///x.db", tmp_path, "demo")


class Refusing(BaseHTTPRequestHandler):
    """Wants a password."""

    def do_GET(self):
        self.send_error(401)

    do_POST = do_GET

    def log_message(self, *_):
        pass


def test_a_server_that_wants_a_password_or_speaks_no_tls_says_so_and_shows_none(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for scheme, said in (("http", "MLFLOW_TRACKING_USERNAME"), ("https", "http instead of https")):
            with pytest.raises(UserError, match=said) as told:
                Tracker(f"{scheme}://me:secret@127.0.0.1:{server.server_port}", tmp_path, "demo")
            assert "secret" not in str(told.value)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("password", ["secret", "se@cret", "sec/ret", "s:e@c/ret"])
def test_no_part_of_a_password_is_shown_whatever_signs_it_has(password):
    said = f"can't reach postgresql://me:{password}@host:5432/runs?x=1 now"
    assert client.without_password(said) == "can't reach postgresql://***@host:5432/runs?x=1 now"
    long = client.reason(ValueError("x" * (270 - len(password)) + f" http://me:{password}{'y' * 30}@host"))
    assert password not in long and "me:" not in long
    assert client.without_password("sqlite:////home/me@work/mlflow.db") == "sqlite:////home/me@work/mlflow.db"


def test_the_points_of_a_curve_lie_where_they_were_measured(tracker, state):
    rows = [{"step": 10 * i, "seconds": 1.5 * i, "dev_error": 0.5, "tokens": 100 * i} for i in range(1, 4)]
    run = tracker.log_cell(record(), Material(rows, ended=1_000_000.0))
    start = state.client.get_run(run).info.start_time
    assert start == 1_000_000_000 - 31_250
    for name in ("curve/dev_error", "progress/tokens"):
        points = sorted(state.client.get_metric_history(run, name), key=lambda point: point.step)
        assert [point.timestamp - start for point in points] == [1500, 3000, 4500]


def judged(value: float = 0.5, low: float = 0.4, **given):
    """A record with what only a whole matrix tells."""
    one = record(value=value, **given)
    compared = {"against": "another", "baseline": "features=continuous", "difference": {"wer": 0.1}}
    compared |= {"interval": {"wer": [0.05, 0.15]}, "p": {"wer": 0.01}, "p_holm": {"wer": 0.02}}
    one["results"][0] |= {"interval": {"wer": [low, 0.6]}, "resampled": "speaker", "groups": 12}
    one["results"][0] |= {"comparison": compared, "uncompared": None}
    one["cost"] = one["cost"] | {"total_seconds": 99.0}
    return one


def test_intervals_and_shared_costs_join_a_run_at_the_end_and_stay(tracker, state):
    tracker.start("one")
    run = tracker.log_cell(record())
    tracker.finish(Matrix(tracker.space, [judged()]))
    metrics, tags = state.client.get_run(run).data.metrics, state.client.get_run(run).data.tags
    assert (
        metrics["interval/low"] == 0.4 and metrics["cost/total_seconds"] == 99 and metrics["comparison/p_holm"] == 0.02
    )
    assert "40.00 % – 60.00 %" in tags[NOTE] and "+10.00 points against features=continuous" in tags[NOTE]
    before = everything(tracker, state)

    later = Tracker(None, state.root, tracker.space)
    assert later.log_cell(record()) == run
    later.start("one")
    later.finish(Matrix(tracker.space, [judged()]))
    after = everything(tracker, state)
    assert after[run] == before[run], "metrics that have not changed are not written again"

    tracker.start("two")
    tracker.finish(Matrix(tracker.space, [judged(low=0.45)]))
    assert state.client.get_run(run).data.metrics["interval/low"] == 0.45
    assert [run.info.run_id for run in children(tracker, state)] == [run]


def test_launches_can_be_compared_by_their_best_scores_and_have_figures_and_report(tracker, state):
    parent = tracker.start("one")
    cells = [record(value=0.3), record(value=0.2, layer=2), record("failed", "boom", layer=3)]
    cells += [record(task="keyword", primary="accuracy", value=v, seed=v > 0.5) for v in (0.4, 0.6)]
    tracker.finish(Matrix(tracker.space, cells), report="<!doctype html><title>what came out</title>")
    metrics = state.client.get_run(parent).data.metrics
    assert metrics["best/asr synthetic wer"] == 0.2 and metrics["best/keyword synthetic accuracy"] == 0.6
    assert metrics["cells/ok"] == 4 and metrics["cells/failed"] == 1
    assert {f.path for f in state.client.list_artifacts(parent, "figures")} == {
        f"figures/{name}.{kind}" for name in drawable(Matrix(tracker.space, cells)) for kind in ("png", "svg")
    }
    assert "what came out" in Path(state.client.download_artifacts(parent, "report.html")).read_text("utf-8")
