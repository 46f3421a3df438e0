"""Corpus: recordings and what is said about them. A reader is a subclass that says where its table comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks import TASKS

if TYPE_CHECKING:
    import pandas as pd

ANNOTATIONS = tuple(t.column_for(v) for t in TASKS.values() for v in t.variants or (None,))
"""The columns that tasks read. A corpus may have more (`translation_fr`)."""

LABELS = tuple(t.column for t in TASKS.values() if t.kind == "classification")
"""The annotations that are labels out of a closed set, which the training split defines."""

COLUMNS = ("id", "audio", "start", "seconds", "speaker", "split", "fold", *ANNOTATIONS)
"""The columns of every corpus' table."""


class Corpus(BaseModel, ABC):
    """Where utterances come from, and which of them are used.

    Attributes:
        reader: names the kind of corpus (tasks/corpora/__init__.py).
        min_seconds, max_seconds: recordings outside these lengths are left out, alike in every cell.
        max_broken: the share of broken recordings at which a run fails.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reader: str
    min_seconds: float = Field(0.1, gt=0)
    max_seconds: float = Field(30.0, gt=0)
    max_broken: float = Field(0.05, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_seconds >= self.max_seconds:
            raise ValueError(f"min_seconds ({self.min_seconds:g}) should be below max_seconds ({self.max_seconds:g})")
        return self

    @abstractmethod
    def table(self) -> pd.DataFrame:
        """One row an utterance, without opening any audio.

        Returns:
            `COLUMNS`, and possibly more annotations. id, audio (an absolute path; None where it is synthesised), start
            and seconds (of a segment of the file; None for all of it), speaker, split (`train`, `dev`, `test` or
            `test…`), fold, annotations (None where unknown). Every cell is a str, a float or None.

        Raises:
            UserError: the corpus can't be used; the message says everything that is wrong.
        """


def frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The table of a corpus out of its rows: every column there, None (never NaN) where a row has nothing."""
    import pandas as pd  # Here: processes that only synthesise speech import this package too.

    rows = list(rows)
    extra = dict.fromkeys(key for row in rows for key in row if key not in COLUMNS)
    columns = [*COLUMNS, *extra]
    return pd.DataFrame([[row.get(column) for column in columns] for row in rows], columns=columns, dtype=object)
