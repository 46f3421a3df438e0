"""The tags that a tracker writes: its own, and those that MLflow's pages read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.report.words import describe

CELL, IDENTITY, LAUNCH, RECORD = "tokengrid.cell", "tokengrid.identity", "tokengrid.launch", "tokengrid.record"
JUDGED, MATRIX = "tokengrid.judged", "tokengrid.matrix"
STATUS, REASON, SUPERSEDED = "tokengrid.status", "tokengrid.reason", "tokengrid.superseded_by"
PREDICTIONS, REPORT = "tokengrid.predictions", "tokengrid.report"
PARENT, NAME, NOTE = "mlflow.parentRunId", "mlflow.runName", "mlflow.note.content"
CONTEXT = "mlflow.data.context"

KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"
"""Of an experiment: without it MLflow's page opens on traces of language-model applications, of which there are none."""

GROUPS = ("task", "features", "configuration", "encoder", "decoder", "codebook", "bpe")
"""What runs can be grouped by, as `tokengrid.<name>`; `configuration` is the same for all tasks and seeds of a row."""


def groups(record: Mapping[str, Any]) -> dict[str, str]:
    """The tags of a cell to group by; `–` where a coordinate does not apply, since MLflow takes no empty group."""
    shared = {"task": None, "variant": None, "decoder": None, "seed": None, "fold": None}
    named = {
        **record,
        "task": "-".join(part for part in (record["task"], record["variant"]) if part),
        "configuration": describe({**record, **shared}),
    }
    return {f"tokengrid.{name}": "–" if named[name] is None else str(named[name]) for name in GROUPS}
