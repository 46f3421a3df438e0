"""A launch that is tracked by a real `mlflow server`: everything arrives, also when the server goes away in the middle."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
from grid_material import Log, tiny
from mlflow import MlflowClient
from tracking_server import Server

from orchestrator.grid import Grid
from orchestrator.journal import sync
from orchestrator.monitor import Kind
from orchestrator.tracking.tags import CELL

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = Server(tmp_path_factory.mktemp("server"))
    one.start()
    yield one
    one.kill()


@pytest.fixture(scope="module")
def shared(spoken, tmp_path_factory) -> Path:
    """A store with the shared stages of the space, and no cell."""
    root = Path(shutil.copytree(spoken.store.root, tmp_path_factory.mktemp("shared") / "state"))
    Grid(space("shared"), root).prepare(Log())
    return root


def space(name: str):
    return tiny(name, task="keyword")


def runs_of(server: Server, name: str):
    client = MlflowClient(tracking_uri=server.uri)
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    return client, [r for r in runs if CELL in r.data.tags], [r for r in runs if CELL not in r.data.tags]


def look(server: Server, name: str) -> dict[str, object]:
    """All that the server knows of a space, but the times of its launches."""
    client, cells, launches = runs_of(server, name)
    return {
        run.info.run_id: (
            run.info.status,
            run.info.end_time,
            run.data.params,
            run.data.tags,
            {key: [p.value for p in client.get_metric_history(run.info.run_id, key)] for key in run.data.metrics},
        )
        for run in (*cells, *launches)
    }


def test_a_launch_on_a_server_arrives_whole(server, shared, tmp_path, monkeypatch):
    root = Path(shutil.copytree(shared, tmp_path / "state"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    matrix = Grid(space("whole"), root).run(local=True, monitor=Log())
    assert matrix.counts()["ok"] == 3 and not (root / "mlflow.db").exists()

    client, cells, (launch,) = runs_of(server, "whole")
    assert len(cells) == 3 and {run.info.status for run in (*cells, launch)} == {"FINISHED"}
    assert launch.info.artifact_uri.startswith("mlflow-artifacts:")
    files = {file.path for file in client.list_artifacts(launch.info.run_id)}
    assert {"matrix.csv", "matrix.json", "matrix.md", "matrix.html", "matrix.tex", "report.html", "figures"} <= files
    assert {"figures/heatmap.png", "figures/heatmap.svg"} <= {
        file.path for file in client.list_artifacts(launch.info.run_id, "figures")
    }
    for run in cells:
        assert len({tuple(sorted(one.data.params)) for one in cells}) == 1
        points = client.get_metric_history(run.info.run_id, "curve/dev_error")
        assert len(points) == 3 and len({p.timestamp for p in points}) > 1
        inputs = {
            (one.dataset.name, *(tag.value for tag in one.tags)): json.loads(one.dataset.profile)
            for one in run.inputs.dataset_inputs
        }
        assert set(inputs) == {("spoken train", "training"), ("spoken dev", "validation"), ("spoken test", "test")}
        assert inputs["spoken test", "test"]["num_rows"] == 20 and inputs["spoken train", "training"]["hours"] > 0
        table = pd.read_json(client.download_artifacts(run.info.run_id, "predictions.json"), orient="split")
        assert len(table) == 20 and 1 - table["error"].mean() == pytest.approx(run.data.metrics["primary"])
        assert "interval" in run.data.tags["mlflow.note.content"] and "interval/low" in run.data.metrics


class Cutting(Log):
    """A monitor that cuts the server off once a cell has ended and been logged."""

    def __init__(self, server: Server, after: int):
        super().__init__()
        self._server, self._after, self._cells = server, after, 0
        self._said, self.waited = time.monotonic(), 0.0

    def say(self, text: str, style: str = "") -> None:
        now = time.monotonic()
        if "MLflow can't be written now" in text:
            self.waited = now - self._said  # since the cell was done
        self._said = now
        super().say(text, style)

    def start(self, name: str, kind: Kind):
        self._cells += kind == "cell"
        if kind == "cell" and self._cells == self._after + 1:
            self._server.kill()
        return super().start(name, kind)


def test_a_server_that_goes_away_loses_nothing_and_sync_writes_it_later(server, shared, tmp_path):
    root = Path(shutil.copytree(shared, tmp_path / "state"))
    log = Cutting(server, after=1)
    try:
        matrix = Grid(space("cut"), root).run(local=True, monitor=log, tracking_uri=server.uri)
        assert 0 < log.waited < 60, "the launch hung on a server that isn't there"
        assert matrix.counts()["ok"] == 3
        assert log.text.count("MLflow can't be written now") == log.text.count("`tokengrid sync cut`") == 1
    finally:
        server.start()
    _, cells, (launch,) = runs_of(server, "cut")
    assert len(cells) == 1 and launch.info.status == "RUNNING"

    grid = Grid(space("cut"), root)
    done = sync(grid.graph, grid.store, grid.cells, grid.matrix(statistics=True), server.uri)
    assert (done.cells, done.runs) == (3, 4)  # two cells are new, one learns its interval, the launch is closed
    client, cells, (launch,) = runs_of(server, "cut")
    assert len(cells) == 3 and launch.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in cells} == {launch.info.run_id}
    assert "matrix.json" in {file.path for file in client.list_artifacts(launch.info.run_id)}

    before = look(server, "cut")
    again = sync(grid.graph, grid.store, grid.cells, grid.matrix(statistics=True), server.uri)
    assert again.runs == 0 and look(server, "cut") == before
