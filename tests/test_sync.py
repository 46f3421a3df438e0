"""`sync` brings MLflow up to what the store has: once, whatever was there, and whoever does it at the same time."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from grid_material import Log, tiny
from mlflow import MlflowClient

from orchestrator.errors import UserError
from orchestrator.grid import Grid
from orchestrator.journal import sync
from orchestrator.launches import Launch, launches
from orchestrator.tracking import Tracker
from orchestrator.tracking.tags import CELL, LAUNCH

pytestmark = pytest.mark.slow

SPACE = tiny("synced", features="none")
"""Two cells, of two tasks, that need no features."""


@pytest.fixture(scope="module")
def finished(spoken, tmp_path_factory) -> Path:
    """A store in which two cells have run, unseen by MLflow."""
    root = Path(shutil.copytree(spoken.store.root, tmp_path_factory.mktemp("finished") / "state"))
    assert Grid(SPACE, root).run(local=True, monitor=Log(), track=False).counts()["ok"] == 2
    return root


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """An empty database of MLflow, which takes seconds to make."""
    root = tmp_path_factory.mktemp("database")
    Tracker(None, root, "warm-up")
    return root / "mlflow.db"


@pytest.fixture
def root(finished, database, tmp_path) -> Path:
    """A copy of the store, with an empty database."""
    root = Path(shutil.copytree(finished, tmp_path / "state"))
    shutil.copy(database, root / "mlflow.db")
    return root


def synced(root: Path, **given):
    grid = Grid(SPACE, root)
    return sync(grid.graph, grid.store, grid.cells, grid.matrix(), **given)


def runs(root: Path):
    client = MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name(SPACE.name).experiment_id])
    return client, [r for r in found if CELL in r.data.tags], [r for r in found if LAUNCH in r.data.tags]


def everything(root: Path):
    _, cells, parents = runs(root)
    return sorted(json.dumps(r.to_dictionary(), sort_keys=True, default=str) for r in (*cells, *parents))


def test_a_store_that_mlflow_has_never_seen_is_written_once(root):
    first = synced(root, report="<!doctype html><title>synced</title>")
    assert (first.runs, first.cells) == (3, 2)
    client, cells, (parent,) = runs(root)
    assert {run.info.status for run in (*cells, parent)} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in cells} == {parent.info.run_id}
    assert {"matrix.json", "figures", "report.html"} <= {f.path for f in client.list_artifacts(parent.info.run_id)}
    assert parent.data.metrics["cells/ok"] == 2
    for run in cells:
        name = f"best/{run.data.params['task']} spoken accuracy"
        assert parent.data.metrics[name] == run.data.metrics["primary"]
    before = everything(root)
    assert synced(root).runs == 0 and everything(root) == before


def test_a_launch_that_ended_unseen_is_closed_and_one_that_goes_on_is_not(root):
    tracker = Tracker(None, root, SPACE.name)
    begun = [Launch.begin(root, SPACE.name, 2, True) for _ in range(3)]
    for launch in begun:
        tracker.start(launch.id, launch.params, started=launch.started)
    ended = [begun[0].end(root, interrupted=True), begun[1].end(root, interrupted=False)]
    synced(root)
    _, _, parents = runs(root)
    found = {run.data.tags[LAUNCH]: run.info for run in parents}
    assert [found[launch.id].status for launch in begun] == ["KILLED", "FINISHED", "RUNNING"]
    for launch in ended:
        assert found[launch.id].end_time == int(1000 * launch.ended)
    assert launches(root, SPACE.name) == [*ended, begun[2]]


def test_a_launch_whose_process_was_killed_is_closed(root):
    gone = subprocess.Popen(["true"])
    gone.wait()
    launch = replace(Launch.begin(root, SPACE.name, 2, True), pid=gone.pid)
    launch.remember(root)
    Tracker(None, root, SPACE.name).start(launch.id, launch.params, started=launch.started)
    synced(root)
    _, _, parents = runs(root)
    assert {run.data.tags[LAUNCH]: run.info.status for run in parents} == {launch.id: "KILLED", "sync": "FINISHED"}


def test_a_launch_of_a_part_keeps_its_own_matrix(root):
    part = Launch.begin(root, SPACE.name, 1, True)
    tracker = Tracker(None, root, SPACE.name)
    tracker.start(part.id, part.params)
    tracker.finish(Grid(SPACE, root, {"task": ["keyword"]}).matrix())
    part.end(root, interrupted=False)
    synced(root)
    client, _, parents = runs(root)
    sizes = {
        run.data.tags[LAUNCH]: len(
            json.loads(Path(client.download_artifacts(run.info.run_id, "matrix.json")).read_text("utf-8"))["cells"]
        )
        for run in parents
    }
    assert sizes == {part.id: 1, "sync": 2}


def test_two_syncs_at_the_same_time_write_every_run_once(root):
    done = []
    both = [threading.Thread(target=lambda: done.append(synced(root))) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    _, cells, parents = runs(root)
    assert len(done) == 2 and len(cells) == 2 and len(parents) == 1
    assert {run.info.status for run in (*cells, *parents)} == {"FINISHED"} and synced(root).runs == 0


def test_a_launch_is_remembered_until_it_is_withdrawn(root):
    launch = Launch.begin(root, SPACE.name, 2, False)
    assert launches(root, SPACE.name) == [launch] and launches(root, "another") == []
    launch.forget(root)
    assert launches(root, SPACE.name) == []


def test_a_sync_to_nowhere_is_the_user_s_to_mend(root):
    with pytest.raises(UserError, match="mlflow server"):
        synced(root, uri="http://127.0.0.1:9")
