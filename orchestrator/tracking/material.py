"""What a run shows besides its record: learning curve, predictions, corpora, time. Gathered from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import results
from orchestrator.cell import Cell
from orchestrator.graph import Graph
from orchestrator.store import Store
from orchestrator.tracking.inputs import Input
from tasks import TASKS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Material:
    """What belongs to one result of a cell.

    Attributes:
        curve: rows of the learning curve, each with its `step`.
        identity: of the cell's artifact.
        predictions: the Parquet of a finished cell.
        inputs: the corpora.
        ended: when it was done, in seconds since 1970; None for now.
    """

    curve: Sequence[Mapping[str, Any]] = ()
    identity: str = ""
    predictions: Path | None = None
    inputs: tuple[Input, ...] = ()
    ended: float | None = None


@dataclass
class Gatherer:
    """Gathers the records of cells with their material; each corpus is looked at once."""

    graph: Graph
    store: Store
    _inputs: dict[tuple[Any, ...], tuple[Input, ...]] = field(default_factory=dict)

    def gather(self, cell: Cell) -> tuple[dict[str, Any], Material]:
        """The record of a cell as it stands, and what belongs to it."""
        record = results.record(self.graph, self.store, cell)
        scoring, identity = self.graph.scorings[cell], record["identity"]
        if record["status"] != "ok":
            failure = self.store.failure(scoring) or self.store.failure(scoring.training) or {}
            return record, Material(identity=identity, ended=failure.get("at"))
        artifact = self.store.open(scoring)
        return record, Material(
            curve=results.curve(self.graph, self.store, cell),
            identity=identity,
            predictions=artifact.file("predictions.parquet"),
            inputs=self._of_corpus(cell),
            ended=datetime.fromisoformat(artifact.manifest["made"]).timestamp(),
        )

    def _of_corpus(self, cell: Cell) -> tuple[Input, ...]:
        scoring, corpus = self.graph.scorings[cell], self.graph.corpora[cell.corpus]
        column = TASKS[cell.task].column_for(cell.variant)
        key = (cell.corpus, cell.fold, column)
        if key not in self._inputs:
            table = corpus.splits(cell.fold)
            table = table[table[column].notna()].assign(seconds=lambda rows: rows["id"].map(self._seconds(cell.corpus)))
            content = (corpus.recordings.identity, scoring.annotations.identity)
            source = self.graph.space.corpora[cell.corpus].model_dump(mode="json", exclude_none=True)
            self._inputs[key] = tuple(
                Input(cell.corpus, str(split), column, content, source, _profile(rows))
                for split, rows in sorted(table.groupby("split"), key=lambda pair: _place(str(pair[0])))
            )
        return self._inputs[key]

    def _seconds(self, name: str) -> Mapping[str, float]:
        """Seconds of the recordings of a corpus, by id; of synthesised speech they are known once it is spoken."""
        import pandas as pd

        recordings = self.graph.corpora[name].recordings
        if not self.store.has(recordings):
            return {}
        path = self.store.open(recordings).file("recordings.parquet")
        return pd.read_parquet(path, columns=["id", "seconds"]).set_index("id")["seconds"].to_dict()


def _place(split: str) -> tuple[int, str]:
    return ("train", "dev").index(split) if split in ("train", "dev") else 2, split


def _profile(rows: pd.DataFrame) -> dict[str, float]:
    profile: dict[str, float] = {"utterances": len(rows)}
    if rows["seconds"].notna().all():
        profile["hours"] = round(float(rows["seconds"].sum()) / 3600, 4)
    if rows["speaker"].notna().any():
        profile["speakers"] = int(rows["speaker"].nunique())
    return profile
