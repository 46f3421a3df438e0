"""The tags that a tracker writes: its own, and those that MLflow's pages read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.report.words import describe

CELL, IDENTITY, LAUNCH, RECORD = "tokengrid.cell", "tokengrid.identity", "tokengrid.launch", "tokengrid.record"
JUDGED, MATRIX = "tokengrid.judged", "tokengrid.matrix"
STATUS, REASON, SUPERSEDED = "tokengrid.status", "tokengrid.reason", "tokengrid.superseded_by"
PREDICTIONS, REPORT = "tokengrid.predictions", "tokengrid.report"
PARENT, NAME, NOTE = "mlflow.parentRunId", "mlflow.runName", "mlflow.note.content"
CONTEXT, COLOUR = "mlflow.data.context", "mlflow.runColor"

KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"
"""Of an experiment: without it MLflow's page opens on traces of language-model applications, of which there are none."""

GROUPS = ("task", "features", "configuration", "encoder", "decoder", "codebook", "bpe")
"""What runs can be grouped by, as `tokengrid.<name>`; `configuration` is the same for all tasks and seeds of a row."""

PALETTE = {
    "continuous": ("#0072B2", "#56B4E9", "#003F63", "#9CCBE8"),
    "discrete": ("#D55E00", "#E69F00", "#7A3600", "#F2C879", "#A8501A", "#FFB380"),
    "centroids": ("#009E73", "#6FCFB2", "#005A41", "#B7E4D6"),
    "none": ("#7F7F7F", "#B3B3B3"),
}
"""Colours of runs by the kind of features, told apart by the colour-blind (Okabe and Ito, 2008) and by lightness."""


def configuration(record: Mapping[str, Any]) -> str:
    """What a cell is fed, in words: the same for all tasks, decoders and seeds."""
    return describe({**record, "task": None, "variant": None, "decoder": None, "seed": None, "fold": None})


def colours(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """A colour for each configuration of a space; left to itself, MLflow gives runs random ones."""
    found: dict[str, str] = {}
    seen: dict[str, list[str]] = {}
    for record in records:
        name, kind = configuration(record), record["features"]
        if name not in found:
            shades = PALETTE[kind]
            found[name] = shades[len(seen.setdefault(kind, [])) % len(shades)]
            seen[kind].append(name)
    return found


def groups(record: Mapping[str, Any]) -> dict[str, str]:
    """The tags of a cell to group by; `–` where a coordinate does not apply, since MLflow takes no empty group."""
    task = "-".join(part for part in (record["task"], record["variant"]) if part)
    named = {**record, "task": task, "configuration": configuration(record)}
    return {f"tokengrid.{name}": "–" if named[name] is None else str(named[name]) for name in GROUPS}
