"""Results: what the store knows of a cell, as the plain record that the matrix, MLflow and the JSON contract share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.cell import Cell
from orchestrator.costs import stage_costs, totals
from orchestrator.errors import CorruptArtifact
from orchestrator.graph import Graph, unknown
from orchestrator.matrix import COST
from orchestrator.stage import Progress, Stage, silent, walk
from orchestrator.stages.inference import Inference
from orchestrator.stages.scoring import Scoring
from orchestrator.store import Store
from orchestrator.tuning import with_choices
from tasks import TASKS

if TYPE_CHECKING:
    from orchestrator.statistics.predictions import Predictions

UNFINISHED: Mapping[str, Any] = {
    **{"status": "missing", "reason": None, "stopped": None, "dev": None, "results": [], "metrics": None},
    **{"baseline": None, "cost": None, "log": None},
}
"""What the record of a cell without a result says."""
STALE = "there is a result for these coordinates, but of another or older configuration; run again"


def records(graph: Graph, store: Store, cells: Iterable[Cell] | None = None) -> list[dict[str, Any]]:
    """The record of every cell, in the order of the space, finished or not.

    They have what `record` gives and, where the space has it, the choice of a learning rate (`tuning`).
    """
    return with_choices([record(graph, store, cell) for cell in (graph.cells if cells is None else cells)])


def with_analyses(graph: Graph, store: Store, records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records with the `analysis` of what their decoders are fed; None where it is not built."""
    stages = {cell.id: stage for cell, stage in graph.analyses.items()}
    return [{**one, "analysis": _analysis(store, stages.get(one["cell"]))} for one in records]


def with_evidence(graph: Graph, store: Store, records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records with what only a report looks at: the learning `curve`, and in `cost` the `stages` and their sums."""
    cells = {cell.id: cell for cell in graph.cells}
    records = list(records)
    spent = stage_costs(graph, store, [cells[one["cell"]] for one in records])
    found = []
    for one in records:
        cell = cells[one["cell"]]
        if one["status"] != "ok":
            found.append({**one, "curve": []})
            continue
        cost = {**one["cost"], **totals(spent[cell]), "stages": spent[cell]}
        try:
            found.append({**one, "curve": curve(graph, store, cell), "cost": cost})
        except CorruptArtifact as error:
            found.append({**one, **UNFINISHED, "reason": str(error), "curve": []})
    return found


def with_statistics(
    graph: Graph,
    store: Store,
    records: Sequence[Mapping[str, Any]],
    baseline: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """The records with `interval` and `comparison` in each test result (orchestrator/statistics/judging.py).

    Args:
        records: all that are to be compared, as `records` gives them.
        baseline: coordinate → value as text; by default the continuous cell with the same other coordinates.
    """
    from orchestrator import statistics
    from orchestrator.statistics.predictions import read

    scorings = {cell.id: scoring for cell, scoring in graph.scorings.items()}

    def predictions(cell: str, splits: Sequence[str]) -> Mapping[str, Predictions]:
        return read(store.open(scorings[cell]).file("predictions.parquet"), splits)

    return statistics.judged(records, predictions, store.root / "statistics", baseline or statistics.DEFAULT, progress)


def _absent(graph: Graph, cell: Cell) -> str | None:
    """Why a checkpoint that a cell needs is not at hand; None where it needs none of these."""
    stages = list(walk(graph.scorings[cell])) if graph.absent else []
    parts = [str(part) for stage in stages for part in (getattr(stage, "encoder", ""), getattr(stage, "decoder", ""))]
    return next((why for name, why in graph.absent.items() if any(unknown(name) in part for part in parts)), None)


def _analysis(store: Store, stage: Stage | None) -> dict[str, Any] | None:
    return _read(store, stage, "analysis.json")


def _read(store: Store, stage: Stage | None, name: str) -> dict[str, Any] | None:
    """What a cell can do without; None where it is not built, or was found to be broken: the next run builds it again."""
    try:
        return store.open(stage).json(name) if stage is not None and store.has(stage) else None
    except CorruptArtifact:
        return None


def record(graph: Graph, store: Store, cell: Cell) -> dict[str, Any]:
    """The record of a cell: coordinates, status with reason, metrics, baseline and cost. Absent values are None."""
    scoring = graph.scorings[cell]
    base: dict[str, Any] = {"cell": cell.id, **cell.coordinates, "identity": scoring.identity}
    base |= {"primary": TASKS[cell.task].primary, **UNFINISHED}
    if graph.space.reference is not None:
        base["reference"] = graph.space.reference.of(cell)
    if is_finished(store, scoring):
        try:
            scores = _scores(scoring, store)
            return base | {"status": "ok"} | scores | {"cost": scores["cost"] | _inference(scoring, store)}
        except CorruptArtifact as error:
            return base | {"reason": str(error)}
    if not graph.corpora[cell.corpus].is_known:
        return base | {"reason": "the corpus has not been indexed yet"}
    if absent := _absent(graph, cell):
        return base | {"reason": f"what the store has of it can't be told: {absent}"}
    if failure := _failure(graph, store, cell):
        return base | {"status": "failed", **failure}
    if finished_identities(store, cell) - {scoring.identity}:
        return base | {"status": "stale", "reason": STALE}
    return base


def is_finished(store: Store, scoring: Scoring) -> bool:
    """Whether a cell has its result: the scores, and the training that they are of."""
    return store.has(scoring) and store.has(scoring.training)


def curve(graph: Graph, store: Store, cell: Cell) -> list[dict[str, Any]]:
    """The learning curve of a finished cell, a row an evaluation."""
    return store.open(graph.scorings[cell].training).json("curve.json")


def note_finished(store: Store, cell: Cell, scoring: Scoring) -> None:
    """Remembers that a cell has a result under this identity, so that a later identity shows it as stale."""
    folder = store.root / "cells" / cell.id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / scoring.identity).write_text(json.dumps(cell.coordinates), "utf-8")


def finished_identities(store: Store, cell: Cell) -> set[str]:
    """The identities under which a cell has ever been finished."""
    folder = store.root / "cells" / cell.id
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _scores(scoring: Scoring, store: Store) -> dict[str, Any]:
    scores = store.open(scoring).json("metrics.json")
    training = store.open(scoring.training).json("training.json")
    tests = [r for r in scores["results"] if r["split"] == "test"]
    tests = [r | {"baseline": r["baseline"][scores["primary"]], "baseline_metrics": r["baseline"]} for r in tests]
    dev = next((r for r in scores["results"] if r["split"] == "dev"), None)
    return {
        "stopped": training["stopped"],
        "dev": dev["metrics"] if dev else None,
        "results": tests,
        "metrics": tests[0]["metrics"],
        "baseline": tests[0]["baseline"],
        "details": scores["details"],
        "cost": {key: training.get(key) for key in COST}
        | {key: value for key, value in training.items() if key not in COST and key != "stopped"}
        | {"decoding_seconds": scores["decoding_seconds"]},
    }


def _inference(scoring: Scoring, store: Store) -> dict[str, Any]:
    """How long answers take, whole and as single numbers; None where it was not measured."""
    measured = _read(store, Inference.of(scoring), "inference.json")
    single, batched = (measured["single"], measured["batched"]) if measured else ({}, {})
    return {
        "inference": measured,
        **{name: single.get(name) for name in ("rtf", "first_token_seconds")},
        **{f"{name}_batched": batched.get(name) for name in ("rtf", "first_token_seconds")},
    }


def _failure(graph: Graph, store: Store, cell: Cell) -> dict[str, Any] | None:
    scoring = graph.scorings[cell]
    for stage in (scoring, scoring.training):
        if failure := store.failure(stage):
            return {"reason": failure["reason"], "log": failure["log"]}
    for stage in graph.needs(cell):
        if (failure := store.failure(stage)) and not store.has(stage):
            return {"reason": f"needs the {stage.name} {stage.readable}: {failure['reason']}", "log": failure["log"]}
    return None
