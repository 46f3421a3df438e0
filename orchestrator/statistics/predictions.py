"""Predictions: what a cell answered on a test set, as its scoring has written it. Knows neither stages nor the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Predictions:
    """One test set, in the order of the ids, so that the order in a file is nothing.

    Attributes:
        ids: of the utterances; `speakers` None where unknown.
        references: the targets, before any normalisation.
        answers: of the decoder, likewise.
    """

    ids: tuple[str, ...]
    speakers: tuple[str | None, ...]
    references: tuple[str, ...]
    answers: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """The hash of what was asked: ids, speakers, references. Only equal ones can be compared."""
        asked = [self.ids, self.speakers, self.references]
        return hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()[:16]


def read(path: Path, splits: Sequence[str]) -> dict[str, Predictions]:
    """The test sets of these names in a `predictions.parquet`."""
    import pandas as pd

    columns = ["id", "split", "speaker", "reference", "answer"]
    table = pd.read_parquet(path, columns=columns).sort_values("id").astype(object)
    table = table.where(table.notna(), None)
    found = {}
    for split in splits:
        rows = table[table["split"] == split]
        found[split] = Predictions(*(tuple(rows[name]) for name in ("id", "speaker", "reference", "answer")))
    return found
