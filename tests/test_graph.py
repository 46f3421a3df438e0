"""The graph over a real store: what is shared is made once, what didn't change is kept, what fails takes only its own down."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import BINS, Speech, quiet
from safetensors.numpy import load_file

from orchestrator import local
from orchestrator import space_file as space
from orchestrator.cell import Cell
from orchestrator.execution import todo
from orchestrator.graph import Graph, resolve
from orchestrator.results import record, records
from orchestrator.stage import Stage, walk
from orchestrator.stages.encoder_pass import ShardWorker
from orchestrator.stages.features import Features
from orchestrator.stages.inference import Inference
from orchestrator.store import Store

SMALL = {
    "name": "small",
    "corpora": {"spoken": {"reader": "synthetic", "preset": "smoke"}},
    "encoders": {"spectral": {"kind": "logmel", "bins": BINS}},
    "decoders": {
        "tiny": {"kind": "tiny", "hidden": 16, "layers": 1, "heads": 1, "kv_heads": 1, "intermediate": 16,
                 "text_vocabulary": 300},
    },
    "recipes": {"quick": {"batch": 16, "learning_rate": 1e-3, "max_epochs": 1}},
    "sample": {"frames": 6000},
    "grid": {
        "task": "keyword",
        "corpus": "spoken",
        "encoder": "spectral",
        "layer": 0,
        "features": [
            {"kind": "continuous", "downsample": 3},
            {"kind": "discrete", "codebook": [8, 16]},
            {"kind": "discrete", "codebook": 16, "bpe": 24},
            "none",
        ],
        "recipe": "quick",
    },
}  # fmt: skip


def small(store: Store, features: list[Any] | None = None, **changes: Any) -> Graph:
    grid = SMALL["grid"] | ({"features": features} if features else {})
    return resolve(space.parse(SMALL | changes | {"grid": grid}), store)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """How often each stage is made (by identity), and how many shards are run."""
    made: Counter[str] = Counter()
    making, run = Store.making, ShardWorker.run

    @contextmanager
    def counting(self: Store, stage: Stage) -> Iterator[Path | None]:
        with making(self, stage) as partial:
            made[stage.identity] += partial is not None
            yield partial

    def running(self: ShardWorker, shard: Any) -> dict[str, Any]:
        made["shards"] += 1
        return run(self, shard)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "making", counting)
        patch.setattr(ShardWorker, "run", running)
        yield made


def launch(graph: Graph, store: Store) -> list[dict[str, Any]]:
    local.run(graph, store, graph.cells, quiet())
    return records(graph, store)


@dataclass(frozen=True)
class Finished:
    store: Store
    graph: Graph
    records: list[dict[str, Any]]
    made: Counter[str]


@pytest.fixture(scope="module")
def once(spoken: Speech, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The small space, run once; tests that write take `finished`."""
    root = tmp_path_factory.mktemp("finished") / "state"
    (root / "store").mkdir(parents=True)
    # Only the audio is there already.
    shutil.copytree(spoken.store.root / "store" / "recordings", root / "store" / "recordings")
    store = Store(root)
    graph = small(store)
    with counted() as made:
        found = launch(graph, store)
    return Finished(store, graph, found, made)


@pytest.fixture
def finished(once: Finished, tmp_path: Path) -> Finished:
    shutil.copytree(once.store.root, tmp_path / "finished")
    return replace(once, store=Store(tmp_path / "finished"))


def scores(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(r["cell"], r["status"], r["metrics"], r["dev"], r["baseline"], r["stopped"]) for r in found]


def test_every_cell_has_its_result(once: Finished):
    assert [r["status"] for r in once.records] == ["ok"] * 5
    assert {r["features"] for r in once.records} == {"continuous", "discrete", "none"}
    for r in once.records:
        assert 0 <= r["metrics"]["accuracy"] <= 1 and r["cost"]["steps"] > 0


def test_shared_stages_are_made_exactly_once(once: Finished):
    measures = [Inference.of(scoring) for scoring in once.graph.scorings.values()]
    wanted = {s.identity: s for s in walk(*measures, *once.graph.analyses.values())}
    recordings = once.graph.corpora["spoken"].recordings.identity
    shards = once.made["shards"]
    assert {i: n for i, n in once.made.items() if i != "shards"} == {i: 1 for i in wanted if i != recordings}
    assert shards == 3, "one pass over the audio serves features and units of both codebooks"
    folders = [path.parent.name for path in once.store.root.glob("store/*/*/artifact.json")]
    assert sorted(name.rpartition("-")[2] for name in folders) == sorted(wanted)


def test_an_analysis_that_failed_takes_nothing_down(finished: Finished):
    cell = next(cell for cell in finished.graph.cells if cell.codebook == 8)
    finished.store.fail(finished.graph.analyses[cell], "no reason")
    shutil.rmtree(finished.store.folder(finished.graph.scorings[cell]))
    assert finished.graph.analyses[cell] not in finished.graph.needs(cell)
    assert record(finished.graph, finished.store, cell)["status"] != "failed"
    launch(finished.graph, finished.store)
    assert record(finished.graph, finished.store, cell)["status"] == "ok"


def test_no_file_of_a_store_is_a_pickle(once: Finished):
    files = [path for path in once.store.root.rglob("*") if path.is_file()]
    for path in files:
        if path.suffix == ".safetensors":
            load_file(path)
        elif path.suffix in (".parquet", ".flac"):
            assert path.read_bytes()[:4] in (b"PAR1", b"fLaC"), path
        else:
            json.loads(path.read_text("utf-8"))  # also FORMAT, which is a number


def test_nothing_half_done_is_left(once: Finished):
    left = [p for p in once.store.root.rglob("*") if p.suffix in (".partial", ".lease", ".tmp", ".heir")]
    assert left == []
    assert all(not problems for _, problems in once.store.verify())


def test_a_finished_space_has_nothing_to_do(finished: Finished):
    with counted() as made:
        again = launch(finished.graph, finished.store)
    assert not made.total()
    assert scores(again) == scores(finished.records)


def test_a_codebook_size_more_costs_its_codebook_units_bpe_and_cells(finished: Finished):
    features = [*SMALL["grid"]["features"], {"kind": "discrete", "codebook": 12, "bpe": [None, 20]}]
    graph = small(finished.store, features)
    graph.put_leaves(finished.store)
    plan = todo(graph, finished.store, graph.cells)
    stages = [stage for work in plan.works for stage in work.stages]
    assert sorted(stage.name for stage in stages) == ["analysis", "analysis", "bpe", "codebook", "units"]
    assert all(getattr(stage, "k", 12) == 12 for stage in stages)
    assert {(cell.codebook, cell.bpe) for cell in plan.cells} == {(12, None), (12, 20)}
    assert plan.finished == 5
    with counted() as made:
        found = launch(graph, finished.store)
    scorings = [graph.scorings[cell] for cell in plan.cells]
    own = {s.identity for scoring in scorings for s in (scoring, scoring.training, Inference.of(scoring))}
    assert set(made) - {"shards"} == {s.identity for s in stages} | own
    assert [r["status"] for r in found] == ["ok"] * 7
    assert scores(found)[:4] == scores(finished.records)[:4]


def test_a_result_of_an_older_configuration_is_stale_until_it_runs_again(finished: Finished):
    recipes = {"quick": SMALL["recipes"]["quick"] | {"learning_rate": 2e-3}}
    graph = small(finished.store, ["none", {"kind": "discrete", "codebook": [8, 12]}], recipes=recipes)
    found = {(r["features"], r["codebook"]): r for r in records(graph, finished.store)}
    assert {key: r["status"] for key, r in found.items()} == {
        ("none", None): "stale",
        ("discrete", 8): "stale",
        ("discrete", 12): "missing",
    }
    assert "run again" in found["none", None]["reason"]
    [none] = [cell for cell in graph.cells if cell.features == "none"]
    local.run(graph, finished.store, [none], quiet())
    assert record(graph, finished.store, none)["status"] == "ok"
    # And the space as it was has its results still.
    assert scores(records(finished.graph, finished.store)) == scores(finished.records)


def test_a_codebook_that_fails_takes_down_its_cells_and_no_others(finished: Finished):
    """In a store that has none of the others yet, so that they share an encoder pass with what can't be."""
    for name in ("features", "units", "training", "scoring", "codebook"):
        shutil.rmtree(finished.store.root / "store" / name)
    features = [
        {"kind": "continuous", "downsample": 3},
        {"kind": "discrete", "codebook": [8, 5999]},
        {"kind": "discrete", "codebook": 5999, "bpe": 6000},
    ]
    graph = small(finished.store, features)
    found = launch(graph, store := Store(finished.store.root))
    assert {(r["codebook"], r["bpe"]): r["status"] for r in found} == {
        (None, None): "ok",
        (8, None): "ok",
        (5999, None): "failed",
        (5999, 6000): "failed",
    }
    for r in found:
        if r["status"] == "failed":
            assert "codebook" in r["reason"] and "needs at least 5999 frames" in r["reason"]
            assert "StageError" in Path(r["log"]).read_text()
    # What failed is tried again, and only that.
    plan = todo(graph, store, graph.cells)
    assert {cell.codebook for cell in plan.cells} == {5999}
    assert scores(found)[:2] == scores(finished.records)[:2]


@pytest.mark.parametrize("name", ["scoring", "training"])
def test_a_result_that_was_damaged_is_shown_as_missing_and_made_again(finished: Finished, name: str):
    store, graph = finished.store, finished.graph
    cell = graph.cells[1]
    stage = graph.scorings[cell] if name == "scoring" else graph.scorings[cell].training
    path = store.folder(stage) / {"scoring": "metrics.json", "training": "training.json"}[name]
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    first = record(graph, Store(store.root), cell)
    assert first["status"] == "missing" and "moved aside" in first["reason"]
    assert record(graph, store, cell)["status"] == "missing"
    plan = todo(graph, store, graph.cells)
    assert plan.cells == [cell] and plan.works == []
    assert scores(launch(graph, store)) == scores(finished.records)


def test_shared_stages_that_were_damaged_are_made_again_where_a_cell_needs_them(finished: Finished):
    features = next(s for s in walk(*finished.graph.scorings.values()) if isinstance(s, Features))
    shard = next(finished.store.folder(features).glob("shard-*"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert todo(finished.graph, finished.store, finished.graph.cells).works == []
    other_seed = resolve(
        space.parse(SMALL | {"grid": SMALL["grid"] | {"seed": 1, "features": SMALL["grid"]["features"][:1]}}),
        finished.store,
    )
    [work] = todo(other_seed, finished.store, other_seed.cells).works
    assert work.stages == (features,)


def test_records_are_plain_values(once: Finished):
    assert json.loads(json.dumps(once.records)) == once.records
    assert {cell.id for cell in once.graph.cells} == {r["cell"] for r in once.records}
    assert all(isinstance(cell, Cell) for cell in once.graph.cells)
