"""A whole launch, one after the other in one process: computed once, resumed wherever it died, failing where it should."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import pytest
from grid_material import (
    SHARED,
    Log,
    artifacts,
    contents,
    launch_and_die,
    launch_and_note,
    leftovers,
    process,
    timeless,
    tiny,
)
from mlflow import MlflowClient
from rich.console import Console

from orchestrator.decoders import Recipe
from orchestrator.errors import UserError
from orchestrator.grid import Grid
from orchestrator.monitor import Monitor
from orchestrator.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(spoken, tmp_path_factory) -> Path:
    """A store in which the tiny space has run, uninterrupted and tracked. Tests only read it, or copy it."""
    root = tmp_path_factory.mktemp("finished") / "state"
    shutil.copytree(spoken.store.root, root)
    assert Grid(tiny(), root).run(local=True, monitor=Log()).counts()["ok"] == 6
    return root


@pytest.fixture
def mine(finished, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "state"))


@pytest.fixture
def spoken_only(spoken, tmp_path) -> Path:
    """A store with the recordings alone."""
    recordings = Path("store") / "recordings"
    shutil.copytree(spoken.store.root / recordings, tmp_path / "state" / recordings)
    return tmp_path / "state"


def children(root: Path, space: str = "tiny"):
    client = MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db")
    experiment = client.get_experiment_by_name(space)
    runs = client.search_runs([experiment.experiment_id])
    return [r for r in runs if "mlflow.parentRunId" in r.data.tags], [
        r for r in runs if "mlflow.parentRunId" not in r.data.tags
    ]


def test_every_stage_is_made_once_and_every_cell_has_its_result(finished):
    grid = Grid(tiny(), finished)
    made = artifacts(finished)
    works = {stage.identity for work in grid.graph.shared() for stage in work.stages}
    cells = {s.identity for scoring in grid.graph.scorings.values() for s in (scoring, scoring.training)}
    identities = [one["identity"] for one in made.values() if one["stage"] in (*SHARED, "training", "scoring")]
    assert works | cells <= set(identities) and len(identities) == len(set(identities))
    assert leftovers(finished) == []
    for record in grid.matrix().cells:
        assert record["status"] == "ok" and record["stopped"] in ("plateau", "budget")
        assert record["results"][0]["n"] == 20 if record["task"] == "keyword" else record["results"][0]["n"] > 0
        assert (record["cost"]["bits_per_second"] == 0) == (record["features"] == "none")


def test_a_second_run_computes_nothing_and_tracks_nothing_twice(mine):
    before, (first, _) = artifacts(mine), children(mine)
    log = Log()
    matrix = Grid(tiny(), mine).run(local=True, monitor=log)
    assert matrix.counts()["ok"] == 6
    assert artifacts(mine) == before and log.worked == {}
    assert "0 shared stages to build, 0 cells to run, 6 finished before" in log.text
    (again, parents) = children(mine)
    assert sorted(r.info.run_id for r in again) == sorted(r.info.run_id for r in first) and len(again) == 6
    assert len(parents) == 2


@pytest.mark.parametrize(
    ("at", "done"),
    [
        pytest.param("recordings", 60, marks=pytest.mark.slow),
        pytest.param("pretraining", 2, marks=pytest.mark.slow),
        pytest.param("encoder pass", 1, marks=pytest.mark.slow),
        ("keyword continuous", 2.9),
        pytest.param("intent discrete", 1, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_to_the_same_matrix(finished, spoken_only, tmp_path, at, done):
    """Killed as by `kill -9` within each kind of work; what was finished before is not done again."""
    root = tmp_path / "fresh" if at == "recordings" else spoken_only
    killed = process(launch_and_die, tiny(), root, at, done)
    killed.join(120)
    assert killed.exitcode == -9
    before = artifacts(root)
    assert before if at != "recordings" else not any(name.startswith("recordings") for name in before)

    log = Log()
    matrix = Grid(tiny(), root).run(local=True, monitor=log, track=False)
    after = artifacts(root)
    assert before.items() <= after.items(), "an artifact that was there has been made again"
    assert timeless(matrix) == timeless(Grid(tiny(), finished).matrix(statistics=True))
    expected = contents(finished)
    assert {key: expected[key] for key in contents(root)} == contents(root)
    assert leftovers(root) == []


@pytest.mark.slow
def test_two_launches_at_the_same_time_share_the_work(finished, spoken_only, tmp_path):
    notes = [tmp_path / "one.json", tmp_path / "two.json"]
    launches = [process(launch_and_note, tiny(), spoken_only, note) for note in notes]
    for launch in launches:
        launch.join(180)
        assert launch.exitcode == 0
    one, two = (json.loads(note.read_text()) for note in notes)
    assert one["counts"]["ok"] == two["counts"]["ok"] == 6
    assert not set(one["worked"]) & set(two["worked"]), "both have built the same"
    assert timeless(Grid(tiny(), spoken_only).matrix()) == timeless(Grid(tiny(), finished).matrix())
    runs, parents = children(spoken_only)
    assert len(runs) == 6 and len(parents) == 2
    assert leftovers(spoken_only) == []


def test_a_grid_that_grows_costs_only_what_is_new(mine):
    before = artifacts(mine)
    grown = tiny(features=[{"kind": "discrete", "codebook": [12, 20], "bpe": 24}, "none"])
    assert Grid(grown, mine).run(local=True, monitor=Log(), track=False).counts()["ok"] == 6
    new = [name.split("/")[0] for name in artifacts(mine).keys() - before.keys()]
    own = ["inference"] * 2 + ["scoring"] * 2 + ["training"] * 2
    assert sorted(new) == ["analysis"] * 2 + ["bpe", "codebook"] + own + ["units"]


def test_what_fails_takes_down_only_what_depends_on_it_and_is_tried_again(mine):
    """A codebook larger than the sample, and a learning rate at which nothing stays finite."""
    space = tiny(features=[{"kind": "discrete", "codebook": [12, 3900]}, "none"], recipe=["small", "wild"])
    only = {"task": ["keyword"]}
    log = Log()
    matrix = Grid(space, mine, only).run(local=True, monitor=log)
    states = {(r["codebook"], r["recipe"]): r for r in matrix.cells}
    assert {key: r["status"] for key, r in states.items()} == {
        (12, "small"): "ok",
        (12, "wild"): "failed",
        (3900, "small"): "failed",
        (3900, "wild"): "failed",
        (None, "small"): "ok",
        (None, "wild"): "failed",
    }
    assert "diverged" in states[12, "wild"]["reason"] and "learning_rate" in states[12, "wild"]["reason"]
    needy = states[3900, "small"]
    assert re.search("needs the codebook .*3900 needs at least 3900 frames", needy["reason"])
    assert Path(needy["log"]).read_text().startswith("Traceback")
    assert "failed: what it needs failed" in log.text and "diverged" in matrix.to_markdown()
    runs, _ = children(mine)
    assert {r.info.status for r in runs if r.data.params["recipe"] == "wild"} == {"FAILED"}

    first = Store(mine).failure(Grid(space, mine, only).graph.scorings[_cell(space, 12, "wild")])
    again = Log()
    assert Grid(space, mine, only).run(local=True, monitor=again, track=False).counts()["failed"] == 4
    second = Store(mine).failure(Grid(space, mine, only).graph.scorings[_cell(space, 12, "wild")])
    assert second["at"] > first["at"] and "3 shared stages to build, 4 cells to run, 2 finished before" in again.text


def _cell(space, codebook, recipe):
    return next(c for c in space.cells() if (c.task, c.codebook, c.recipe) == ("keyword", codebook, recipe))


def test_a_cell_whose_trouble_is_over_succeeds_in_the_next_run(mine):
    grid = Grid(tiny(seed=1), mine, {"features": ["none"], "task": ["keyword"]})
    (cell,) = grid.cells
    in_the_way = grid.store.partial(grid.graph.scorings[cell].training)
    in_the_way.write_text("a file where a folder should be")
    matrix = grid.run(local=True, monitor=Log())
    assert matrix.cells[0]["status"] == "failed" and "FileExistsError" in matrix.cells[0]["reason"]
    in_the_way.unlink()
    again = Grid(tiny(seed=1), mine, {"features": ["none"], "task": ["keyword"]})
    assert again.run(local=True, monitor=Log()).cells[0]["status"] == "ok"
    runs, _ = children(mine)
    assert [r.info.status for r in runs if r.data.params["seed"] == "1"] == ["FINISHED"]


def test_the_matrix_of_a_part_shows_the_rest_as_missing_and_changed_settings_as_stale(mine):
    space = tiny(seed=[0, 1])
    cells = Grid(space, mine).matrix().cells
    assert {r["seed"]: r["status"] for r in cells} == {0: "ok", 1: "missing"}
    changed = tiny()
    slower = Recipe(batch=16, learning_rate=5e-4, max_epochs=3)
    changed = changed.model_copy(update={"recipes": {"small": (slower,)}})
    stale = Grid(changed, mine).matrix()
    assert {r["status"] for r in stale.cells} == {"stale"} and all(r["reason"] for r in stale.cells)


def test_the_python_api_lists_plans_runs_and_frames_as_documented(mine):
    grid = Grid(tiny(), store=mine)
    assert len(grid.cells) == 6 and len({cell.id for cell in grid.cells}) == 6
    plan = grid.plan()
    assert (plan.cells, plan.finished, plan.seconds) == (6, 6, 0)
    grid.run(local=True, monitor=Log(), track=False)
    frame = grid.matrix().frame()
    assert list(frame["status"]) == ["ok"] * 6 and set(frame["cell"]) == {cell.id for cell in grid.cells}
    part = Grid(tiny(), mine, only={"task": ["keyword"], "codebook": ["none"]})
    assert {(c.task, c.features) for c in part.cells} == {("keyword", "continuous"), ("keyword", "none")}
    with pytest.raises(UserError, match=r"no cell of tiny has task=asr"):
        Grid(tiny(), mine, only={"task": ["asr"]})


def test_a_shared_stage_that_rotted_is_built_anew_for_the_cells_that_need_it(mine):
    grid = Grid(tiny(seed=3), mine, {"features": ["discrete"], "task": ["keyword"]})
    (cell,) = grid.cells
    units = next(stage for stage in grid.graph.needs(cell) if stage.name == "units")
    path = next(grid.store.folder(units).glob("*.safetensors"))
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    log = Log()
    assert grid.run(local=True, monitor=log, track=False).counts()["ok"] == 1
    assert "1 shared stages to build, 1 cells to run" in log.text and path.read_bytes() == before


def test_a_file_of_a_cell_that_rotted_takes_down_no_more_than_it_has_to(mine):
    names = [cell.id for cell in Grid(tiny(), mine).cells]
    for path in ("training/*continuous*/curve.json", "inference/*discrete*/inference.json", "analysis/*/analysis.json"):
        for file in sorted((mine / "store").glob(path)):
            body = bytearray(file.read_bytes())
            body[-3] ^= 1
            file.write_bytes(bytes(body))
    cells = dict(zip(names, Grid(tiny(), mine).matrix(statistics=True).cells, strict=True))
    for cell in cells.values():
        if cell["features"] == "continuous":
            assert cell["status"] == "missing" and "checksum" in cell["reason"] and not cell["results"]
        else:
            assert cell["status"] == "ok" and cell["analysis"] is None
            assert (cell["cost"]["inference"] is None) == (cell["features"] == "discrete")


def test_plain_progress_names_every_start_and_end_and_the_time_left(spoken_only):
    log = Log()
    Grid(tiny(), spoken_only, {"task": ["keyword"]}).run(local=True, monitor=log, track=False)
    lines = [re.sub(r"^\d[\d:]*:\d\d ", "", line) for line in log.text.splitlines()]
    started = [line.split(": started")[0] for line in lines if line.endswith(": started")]
    ended = [m[1] for line in lines if (m := re.match(r"\[\d+/\d+\] (.*): done in ", line))]
    assert started == ended and len([name for name in ended if name.startswith("cell ")]) == 3
    assert any(re.search(r"\[1/3\] cell .*done in .*, about \d+:\d\d left for 2 cells", line) for line in lines)
    assert lines[0].endswith("3 cells to run")


def test_what_runs_long_says_how_far_it_is(monkeypatch):
    monkeypatch.setattr("orchestrator.monitor.PLAIN_SECONDS", 0.05)
    console = Console(file=io.StringIO(), width=200)
    with Monitor(console) as monitor:
        monitor.begin(works=1, cells=0, finished=0)
        with monitor.watch("codebook k8", "stage") as watched:
            watched(3, 4, "passes")
            while "75 % of 4 passes, 0:0" not in console.file.getvalue():
                pass
    assert "[1/1] stage codebook k8: done in 0:0" in console.file.getvalue()
