"""What a cell learned from and was tested on, as MLflow's dataset inputs: a corpus' split for one task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.tracking.tags import CONTEXT
from orchestrator.tracking.values import digest

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

CONTEXTS = {"train": "training", "dev": "validation"}
"""MLflow's words for splits; every other split is a test."""


@dataclass(frozen=True)
class Input:
    """A split of a corpus as one task reads it.

    Attributes:
        corpus, split: their names.
        column: of the annotations that is the target.
        content: identities of the recordings and the annotations.
        source: how the corpus is read: its part of the space file.
        profile: `utterances`, `hours`, `speakers`; what is not known is left out.
    """

    corpus: str
    split: str
    column: str
    content: tuple[str, ...]
    source: Mapping[str, Any] = field(default_factory=dict)
    profile: Mapping[str, float] = field(default_factory=dict)

    def entity(self) -> DatasetInput:
        """As MLflow takes it. Of one name and digest it keeps one context in a run: so the split is in the name."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        columns = {"id": "string", "audio": "binary", self.column: "string"}
        schema = [{"type": kind, "name": name, "required": True} for name, kind in columns.items()]
        dataset = Dataset(
            name=f"{self.corpus} {self.split}",
            digest=digest([*self.content, self.split]),
            source_type="tokengrid",
            source=json.dumps({"corpus": self.corpus, **self.source}, default=str),
            schema=json.dumps({"mlflow_colspec": schema}),
            profile=json.dumps({"num_rows": self.profile.get("utterances"), **self.profile}),
        )
        return DatasetInput(dataset, tags=[InputTag(CONTEXT, CONTEXTS.get(self.split, "test"))])
