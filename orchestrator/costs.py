"""Costs: seconds and device of every stage behind a cell, its own and its share of what cells have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.cell import Cell
from orchestrator.graph import Graph, Work
from orchestrator.stage import Stage
from orchestrator.store import MissingArtifact, Store

Line = dict[str, Any]
"""Of a stage: stage, name, identity, seconds (whole), share (of the cell), cells (that need it), device, peak_memory_bytes."""


def stage_costs(graph: Graph, store: Store, cells: Sequence[Cell]) -> dict[Cell, list[Line]]:
    """What was spent on each cell, a line a stage, in the order in which they were built; stages not built are left out.

    What one pass through the audio fills is one line: all of it took the time of that pass. The whole seconds of a
    shared stage are shared out evenly over the cells given that need it, whether they are finished or not, so that the
    shares of all cells add up to what was spent.
    """
    works = graph.shared(cells)
    work_of = {stage.identity: work for work in works for stage in work.stages}
    needed = {
        cell: dict.fromkeys(work_of[s.identity].id for s in graph.needs(cell) if s.identity in work_of)
        for cell in cells
    }
    users = Counter(work for of_cell in needed.values() for work in of_cell)
    shared = {work.id: line for work in works if (line := _of_work(work, store, users[work.id]))}
    found = {}
    for cell in cells:
        scoring = graph.scorings[cell]
        own = [s for s in (scoring.training, scoring) if s.identity not in work_of]
        found[cell] = [shared[w.id] for w in works if w.id in needed[cell] and w.id in shared]
        found[cell] += [line for stage in own if (line := _line(stage.name, stage.readable, stage, [stage], store, 1))]
    return found


def totals(lines: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Seconds of a cell: its own, all that it shares whole, its share of that, and its own with its share."""
    lines = list(lines)
    own = sum(line["seconds"] for line in lines if line["cells"] == 1)
    shared = [line for line in lines if line["cells"] != 1]
    share = sum(line["share"] for line in shared)
    values = {"own_seconds": own, "shared_seconds": sum(line["seconds"] for line in shared)}
    values |= {"shared_out_seconds": share, "total_seconds": own + share}
    return {name: round(value, 3) for name, value in values.items()}


def _of_work(work: Work, store: Store, users: int) -> Line | None:
    first = work.stages[0]
    kind = "encoder pass" if work.is_pass else first.name
    name = work.name if len(work.stages) > 1 else first.readable
    return _line(kind, name, first, work.stages, store, users)


def _line(kind: str, name: str, first: Stage, stages: Sequence[Stage], store: Store, users: int) -> Line | None:
    manifests = [manifest for stage in stages if (manifest := _manifest(stage, store))]
    if not manifests:
        return None
    seconds = _spent(manifests)
    memory = [m["peak_memory_bytes"] for m in manifests if m.get("peak_memory_bytes")]
    return {
        **{"stage": kind, "name": name, "identity": first.identity},
        **{"seconds": round(seconds, 3), "share": round(seconds / max(users, 1), 3), "cells": users},
        "device": ", ".join(dict.fromkeys(m["device"] for m in manifests)),
        "peak_memory_bytes": max(memory, default=None),
    }


def _spent(manifests: Iterable[Mapping[str, Any]]) -> float:
    """Seconds in which at least one of the artifacts was being made: those of one pass took the same ones."""
    spans = []
    for manifest in manifests:
        end = datetime.fromisoformat(manifest["made"]).timestamp()
        spans.append((end - manifest["seconds"], end, manifest["seconds"]))
    spans.sort()
    total, until = 0.0, float("-inf")
    for start, end, seconds in spans:
        # The end is known to the second only: what doesn't overlap counts with its own, exact length.
        total += seconds if start >= until else max(0.0, end - until)
        until = max(until, end)
    return total


def _manifest(stage: Stage, store: Store) -> Mapping[str, Any] | None:
    try:
        return store.open(stage).manifest
    except MissingArtifact:
        return None
