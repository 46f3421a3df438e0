"""The controls and the starts over a real store: centroids, weighted layers, decoders that begin from another task."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Speech, quiet
from grid_material import Log, content
from safetensors.numpy import load_file

from orchestrator import space_file
from orchestrator.execution import todo
from orchestrator.graph import resolve
from orchestrator.grid import Grid
from orchestrator.stage import Stage, walk
from orchestrator.stages.codebook import read_centroids
from orchestrator.stages.sample import Sample
from orchestrator.stages.training import Training
from orchestrator.store import Store
from search_spaces.tiny_models import make_encoder

pytestmark = pytest.mark.slow

CONTINUOUS = {"kind": "continuous", "downsample": 4}
CENTROIDS = {"kind": "centroids", "codebook": 12, "downsample": 4, "dedup": [False, True]}
DISCRETE = {"kind": "discrete", "codebook": 12, "dedup": [False, True]}


def space(**changes):
    return space_file.parse({**content(**changes), "name": "arms"})


@pytest.fixture(scope="module")
def arms(spoken: Speech, tmp_path_factory) -> Grid:
    """Continuous, centroids and discrete, with and without repeats, of the same frames, after a launch."""
    grid = Grid(
        space(task="keyword", features=[CONTINUOUS, CENTROIDS, DISCRETE, "none"]), tmp_path_factory.mktemp("arms")
    )
    grid.run(local=True, monitor=Log(), track=False)
    return grid


def test_every_arm_has_its_result_and_its_cost(arms: Grid):
    found = {(r["features"], r["dedup"]): r for r in arms.matrix().cells}
    assert all(r["status"] == "ok" for r in found.values()) and len(found) == 6
    rates = {key: r["cost"]["tokens_per_second_of_audio"] for key, r in found.items()}
    assert rates["centroids", False] == pytest.approx(rates["discrete", False] / 4)
    assert rates["centroids", True] == pytest.approx(rates["discrete", True])
    assert found["centroids", True]["cost"]["bits_per_second"] == found["discrete", True]["cost"]["bits_per_second"]


def test_centroids_are_the_continuous_frames_quantised_and_nothing_else(arms: Grid):
    """Frame by frame they are the nearest centroids of the stored frames; their specs agree in all but the kind."""
    speech = {(c.features, c.dedup): arms.graph.scorings[c].training.speech for c in arms.cells}
    open_ = arms.store.open
    frames, quantised = speech["continuous", None], speech["centroids", False]
    of_frames, of_centroids = frames.spec(open_), quantised.spec(open_)
    assert dataclasses.replace(of_centroids, kind="continuous") == of_frames
    table = read_centroids(open_(quantised.units.codebook))
    names = arms.graph.corpora["spoken"].table["id"][:5].tolist()
    real, ours = frames.load(open_, names), quantised.load(open_, names)
    units = speech["discrete", True].load(open_, names)
    short = speech["centroids", True].load(open_, names)
    for name in names:
        x, y = np.asarray(real[name], np.float32), np.asarray(ours[name])
        assert x.shape == y.shape
        nearest = np.square(x[:, None] - table[None]).sum(-1).argmin(1)
        assert np.allclose(table[nearest], y, atol=1e-5)
        assert np.array_equal(np.asarray(short[name]), table[units[name]])


def test_every_arm_is_analysed_before_and_without_any_training(arms: Grid, tmp_path: Path):
    with_analysis = {(r["features"], r["dedup"]): r["analysis"] for r in arms.matrix().cells}
    assert with_analysis.pop(("none", None)) is None and all(with_analysis.values())
    assert "analysis" not in json.loads(arms.matrix().to_json())["cells"][0]
    alone = Grid(arms.space, tmp_path / "alone")
    found = alone.analyse(quiet())
    assert {r["status"] for r in found.cells} == {"missing"}
    assert {(r["features"], r["dedup"]): r["analysis"] for r in found.cells if r["analysis"]} == with_analysis
    assert not (tmp_path / "alone" / "store" / "training").exists()


@pytest.fixture(scope="module")
def layers(tmp_path_factory) -> Grid:
    """Single layers and the weighted sum of all layers of a checkpoint, after a launch."""
    folder = tmp_path_factory.mktemp("layers")
    make_encoder(folder / "hubert", "hubert", seed=0)
    body = content(task="keyword", encoder="hubert", layer=[1, 3, "weighted"], features=[CONTINUOUS])
    body["encoders"] = {"hubert": {"kind": "hf", "checkpoint": str(folder / "hubert")}}
    grid = Grid(space_file.parse({**body, "name": "layers"}), folder / "state")
    grid.run(local=True, monitor=Log(), track=False)
    return grid


def test_a_weighted_sum_reads_every_layer_and_tells_its_weights(layers: Grid):
    (one,) = [r for r in layers.matrix().cells if r["layer"] == "weighted"]
    assert one["status"] == "ok" and len(one["cost"]["layer_weights"]) == 4
    assert sum(one["cost"]["layer_weights"]) == pytest.approx(1)
    assert len(set(one["cost"]["layer_weights"])) > 1, "the weights should have been learned"
    (cell,) = [c for c in layers.cells if c.layer == "weighted"]
    speech = layers.graph.scorings[cell].training.speech
    assert [features.layer for features in speech.features] == [0, 1, 2, 3]


def test_one_short_pass_samples_every_layer_and_one_pass_encodes_them(layers: Grid, tmp_path: Path):
    plan = todo(resolve(layers.space, Store(tmp_path)), Store(tmp_path), layers.cells)
    kinds = {work.name.split()[0]: len(work.stages) for work in plan.works}
    assert kinds["sample"] == 4 and kinds["encoder"] == 4
    shutil.copytree(layers.store.root, tmp_path / "single")
    shutil.rmtree(tmp_path / "single" / "store" / "sample")
    single = Store(tmp_path / "single")
    for stage in walk(*layers.graph.scorings.values()):
        if isinstance(stage, Sample):
            alone, together = (
                load_file(s.open(stage).file("sample.safetensors")) for s in (built(single, stage), layers.store)
            )
            assert all(np.array_equal(alone[key], together[key]) for key in alone), (
                "a sample must not depend on its company"
            )


def built(store: Store, stage: Stage) -> Store:
    store.build(stage)
    return store


@pytest.fixture(scope="module")
def started(tmp_path_factory) -> Grid:
    """Intents with and without a start from keywords; the keyword cell is part of the grid in one arm only."""
    grid = Grid(
        space(task="intent", init=["none", "keyword"], features=[CONTINUOUS, "none"]), tmp_path_factory.mktemp("init")
    )
    grid.run(local=True, monitor=Log(), track=False)
    return grid


def test_a_start_is_trained_once_as_shared_work_and_its_cost_is_told(started: Grid):
    found = {(r["features"], r["init"]): r for r in started.matrix().cells}
    assert {r["status"] for r in found.values()} == {"ok"}
    trainings = [s for s in walk(*started.graph.scorings.values()) if isinstance(s, Training)]
    assert sorted(s.task.name for s in trainings) == ["intent"] * 4 + ["keyword"] * 2
    plan = todo(started.graph, Store(started.store.root.parent / "empty"), started.cells)
    assert [s.task.name for w in plan.works for s in w.stages if isinstance(s, Training)] == ["keyword"] * 2
    assert found["continuous", "keyword"]["cost"]["init_steps"] > 0 == found["continuous", None]["cost"]["init_steps"]


def test_a_start_that_failed_takes_down_only_what_starts_from_it(tmp_path: Path):
    grid = Grid(space(task="intent", init=["none", "keyword:wild"], features=["none"]), tmp_path)
    found = {r["init"]: r for r in grid.run(local=True, monitor=Log(), track=False).cells}
    assert found[None]["status"] == "ok" and found["keyword:wild"]["status"] == "failed"
    assert "needs the training keyword none" in found["keyword:wild"]["reason"]
    assert "diverged" in found["keyword:wild"]["reason"]
