"""Ratios of training cost: of what differs in features alone, to convergence, and of nothing else."""

from __future__ import annotations

from typing import Any

from orchestrator.cell import Cell
from orchestrator.report.layout import ROW
from orchestrator.report.ratios import training_ratios

CONTINUOUS = {"features": "continuous", "downsample": 2}
DISCRETE = {"features": "discrete", "codebook": 20, "dedup": True}


def record(seconds: float, stopped: str = "plateau", at_once: int = 1, **coordinates: Any) -> dict[str, Any]:
    told = {"task": "asr", "corpus": "c", "encoder": "e", "layer": 1, "decoder": "d", "recipe": "r", "seed": 0}
    cell = Cell(**(told | coordinates))
    cost = {"seconds_to_best": seconds, "best_epoch": 4.0, "tokens_to_best": 100, "trials_at_once": at_once}
    return {"cell": cell.id, **cell.coordinates, "status": "ok", "stopped": stopped, "cost": cost}


def lines(*cells: dict[str, Any]) -> list[str]:
    return training_ratios(cells, ROW)


def test_a_ratio_is_told_with_its_parts_and_what_it_is_of():
    assert lines(record(10, **CONTINUOUS), record(2, **DISCRETE)) == [
        "discrete, codebook 20, dedup yes ÷ continuous, downsample 2, to convergence: "
        "time 20%, epochs 100%, seconds an epoch 20%, tokens 100% (1 pairs, measured alone)"
    ]


def test_a_cell_that_its_budget_stopped_gives_no_ratio_and_is_counted():
    assert lines(record(10, **CONTINUOUS), record(2, "budget", **DISCRETE)) == []
    tasks = [record(10, task=t, **CONTINUOUS) for t in ("asr", "intent")]
    (line,) = lines(*tasks, record(2, **DISCRETE), record(9, "budget", task="intent", **DISCRETE))
    assert "time 20%" in line and "1 pairs" in line and "1 left out, not converged" in line


def test_configurations_are_never_averaged():
    """With and without repeats, starts from another task, and several continuous arms have lines of their own."""
    repeats = record(8, **DISCRETE | {"dedup": False})
    found = lines(record(10, **CONTINUOUS), record(2, **DISCRETE), repeats)
    assert ["time 20%" in found[0], "time 80%" in found[1]] == [True, True] and len(found) == 2
    starts = [record(s, init=i, **arm) for i, s, arm in (
        (None, 10, CONTINUOUS), (None, 2, DISCRETE), ("asr", 10, CONTINUOUS), ("asr", 5, DISCRETE),
    )]  # fmt: skip
    assert ["time 20%" in line or "time 50%" in line for line in lines(*starts)] == [True, True]
    two = lines(record(10, **CONTINUOUS), record(5, **CONTINUOUS | {"downsample": 4}), record(2, **DISCRETE))
    assert len(two) == 2 and "time 20%" in two[0] and "downsample 2" in two[0] and "time 40%" in two[1]


def test_seeds_and_tasks_are_averaged_in_pairs_and_company_is_told():
    cells = [record(10 * (s + 1), seed=s, at_once=2, **CONTINUOUS) for s in (0, 1)]
    (line,) = lines(*cells, *(record(2 * (s + 1), seed=s, at_once=2, **DISCRETE) for s in (0, 1)))
    assert "time 20%" in line and "2 pairs, trials at once: 2" in line
