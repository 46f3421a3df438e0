"""What cells cost: every second spent is found again, once, in the shares of the cells; and what ran is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import quiet
from grid_material import artifacts, tiny

from orchestrator.costs import stage_costs, totals
from orchestrator.grid import Grid
from orchestrator.matrix import Matrix
from orchestrator.provenance import PeakMemory


@pytest.fixture(scope="module")
def grid(spoken, tmp_path_factory) -> Grid:
    """The tiny space, run."""
    root = tmp_path_factory.mktemp("costs") / "state"
    shutil.copytree(spoken.store.root, root)
    grid = Grid(tiny(), root)
    assert grid.run(local=True, monitor=quiet(), track=False).counts()["ok"] == 6
    return grid


def test_the_shares_of_all_cells_add_up_to_what_the_stages_took(grid):
    costs = stage_costs(grid.graph, grid.store, grid.cells)
    lines = {line["identity"]: line for cell in costs.values() for line in cell}
    shares = sum(line["share"] for cell in costs.values() for line in cell)
    assert shares == pytest.approx(sum(line["seconds"] for line in lines.values()), abs=0.01 * len(lines))
    assert all(0 <= line["share"] <= line["seconds"] + 1e-3 for line in lines.values())


def test_a_shared_stage_says_how_many_cells_need_it_and_an_own_one_is_paid_by_its_cell_alone(grid):
    costs = stage_costs(grid.graph, grid.store, grid.cells)
    kinds = {cell.features: {line["stage"]: line for line in lines} for cell, lines in costs.items()}
    assert set(kinds["none"]) == {"training", "scoring"}
    assert kinds["discrete"]["codebook"]["cells"] == 2 and kinds["discrete"]["bpe"]["cells"] == 2
    # One pass through the audio fills the features of the one and the units of the other.
    assert kinds["discrete"]["encoder pass"]["cells"] == kinds["continuous"]["encoder pass"]["cells"] == 4
    assert "codebook" not in kinds["continuous"] and kinds["continuous"]["training"]["cells"] == 1
    assert all(line["device"] for lines in costs.values() for line in lines)


def test_what_one_pass_filled_took_the_time_of_that_pass_once(grid):
    costs = stage_costs(grid.graph, grid.store, grid.cells)
    (whole,) = {line["seconds"] for lines in costs.values() for line in lines if line["stage"] == "encoder pass"}
    each = [one["seconds"] for one in artifacts(grid.store).values() if one["stage"] in ("features", "units")]
    assert len(each) == 2 and max(each) <= whole < sum(each) + 1.1  # ends are known to the second


def test_totals_are_own_seconds_and_shares(grid):
    costs = stage_costs(grid.graph, grid.store, grid.cells)
    matrix = grid.matrix()
    for cell, record in zip(grid.cells, matrix.cells, strict=True):
        found = totals(costs[cell])
        assert found["total_seconds"] == pytest.approx(found["own_seconds"] + found["shared_out_seconds"], abs=1e-2)
        assert found["shared_out_seconds"] <= found["shared_seconds"]
        assert record["cost"]["total_seconds"] == found["total_seconds"]
        assert record["cost"]["own_seconds"] >= record["cost"]["train_seconds"]


def test_stages_that_are_not_built_cost_nothing_yet(spoken_grid):
    costs = stage_costs(spoken_grid.graph, spoken_grid.store, spoken_grid.cells)
    assert {line["stage"] for lines in costs.values() for line in lines} <= {"recordings"}


@pytest.fixture
def spoken_grid(spoken, tmp_path) -> Grid:
    root = tmp_path / "state"
    shutil.copytree(spoken.store.root / "store" / "recordings", root / "store" / "recordings")
    return Grid(tiny(), root)


def test_curve_and_stages_are_for_the_report_and_stay_true_through_json(grid):
    matrix = grid.matrix()
    for record in matrix.cells:
        assert [row["step"] for row in record["curve"]] and record["curve"][-1]["flops"] == record["cost"]["flops"]
    back = Matrix.from_json(matrix.to_json())
    assert back.to_json() == matrix.to_json() and all("curve" not in record for record in back.cells)
    assert back.cells[0]["cost"]["stages"] == matrix.cells[0]["cost"]["stages"]


def test_the_matrix_says_what_ran(grid):
    about = grid.matrix().about
    (corpus,) = about["corpora"]
    assert corpus["name"] == "spoken" and corpus["reader"] == "synthetic" and corpus["quarantine"] == []
    table = grid.graph.corpora["spoken"].table
    assert {split: found["utterances"] for split, found in corpus["splits"].items()} == dict(
        table["split"].value_counts()
    )
    assert sum(found["hours"] for found in corpus["splits"].values()) == pytest.approx(table["seconds"].sum() / 3600)
    assert about["seeds"] == [0] and about["devices"] and about["versions"]["torch"] and about["python"]


def test_what_ran_is_said_of_a_space_without_a_finished_cell_too(spoken_grid):
    about = spoken_grid.matrix().about
    assert about["devices"] == [] and about["versions"]["tokengrid"]


def test_peak_memory_is_of_its_own_span(tmp_path):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system can't tell the peak memory of a part of a process' life")
    before = PeakMemory()
    big = bytearray(200_000_000)
    big[::4096] = b"x" * len(big[::4096])
    with_big = before.bytes()
    del big
    after = PeakMemory()
    assert with_big - after.bytes() > 150_000_000
