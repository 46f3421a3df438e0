"""Reference: published figures that a space sets beside its own, each with its source and how well it is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.cell import Cell, as_text
from orchestrator.errors import suggest
from tasks.metrics import HIGHER_IS_BETTER

Grade = Literal["S", "P", "V", "I"]
GRADES = {
    "S": "as summarised by a reader of the paper",
    "P": "read in the authors' own tables or code",
    "V": "verified by an experiment",
    "I": "inferred",
}
"""How well a figure is known."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(_Model):
    """What was published for some cells.

    Attributes:
        cells: coordinates → value, or several values, that a cell must have; other coordinates don't matter.
        metric: whose value it is; rates and accuracies as fractions of one, as everywhere.
        values: test set → value. Several values where it isn't known which stands for what.
        value: of the first test set, where the publication names none.
        grade: where it differs from that of the whole block.
    """

    cells: dict[str, Any]
    metric: str
    values: dict[str, float | tuple[float, ...]] = {}
    value: float | tuple[float, ...] | None = None
    grade: Grade | None = None

    @model_validator(mode="after")
    def _known(self) -> Figure:
        if unknown := [key for key in self.cells if key not in Cell.__dataclass_fields__]:
            problem = f"cells have no coordinate '{unknown[0]}'; {suggest(unknown[0], Cell.__dataclass_fields__)}"
        elif self.metric not in HIGHER_IS_BETTER:
            problem = f"there is no metric '{self.metric}'; {suggest(self.metric, HIGHER_IS_BETTER)}"
        elif bool(self.values) == (self.value is not None):
            problem = "a figure has either `value` or `values` by test set"
        else:
            return self
        raise PydanticCustomError("wrong", "{problem}", {"problem": problem})

    def is_of(self, cell: Cell) -> bool:
        """Whether the figure is of this cell."""
        wanted = {key: value if isinstance(value, list) else [value] for key, value in self.cells.items()}
        return all(as_text(getattr(cell, key)) in set(map(as_text, values)) for key, values in wanted.items())


class Reference(_Model):
    """A block of published figures.

    Attributes:
        source: where they were published.
        grade: how well they are known (`GRADES`), unless a figure says otherwise.
        notes: what was published beside figures of single cells, or what isn't known of them; shown below the matrix.
        figures: of cells.
    """

    source: str
    grade: Grade = "S"
    notes: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()

    @property
    def described(self) -> dict[str, Any]:
        """What is said about the figures in plain values: source, grade, meaning of the grade, notes."""
        return {"source": self.source, "grade": self.grade, "meaning": GRADES[self.grade], "notes": list(self.notes)}

    def of(self, cell: Cell) -> list[dict[str, Any]]:
        """The figures of a cell, as they stand in its record: test_set, metric, value (or values), grade."""
        return list(self._of(cell))

    def _of(self, cell: Cell) -> Iterator[dict[str, Any]]:
        for figure in self.figures:
            if figure.is_of(cell):
                found: Mapping[str | None, Any] = figure.values or {None: figure.value}
                for test_set, value in found.items():
                    yield {
                        "test_set": test_set,
                        "metric": figure.metric,
                        "value": list(value) if isinstance(value, tuple) else value,
                        "grade": figure.grade or self.grade,
                    }
