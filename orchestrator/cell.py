"""Cell: one point of the grid, named by the hash of its coordinates wherever it appears (Tune, MLflow, matrix)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

FeatureKind = Literal["none", "continuous", "discrete", "centroids"]
"""How speech enters the decoder; `none` is the score of guessing."""

WEIGHTED = "weighted"
"""The layer that is a learned weighted sum of all layers, for continuous features (SUPERB, arXiv 2105.01051)."""


@dataclass(frozen=True)
class Init:
    """The cell of another task that a cell's training starts from; all its other coordinates are the same.

    Attributes:
        task: of that cell.
        recipe: of that cell; None for the same recipe.
    """

    task: str
    recipe: str | None = None

    @classmethod
    def parse(cls, text: str) -> Init:
        """Reads `asr`, or `asr:recipe`."""
        task, _, recipe = text.partition(":")
        return cls(task, recipe or None)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The coordinates of a cell. A coordinate that doesn't apply is None: `continuous` has no codebook."""

    task: str
    variant: str | None = None
    corpus: str
    fold: str | None = None
    encoder: str | None = None
    layer: int | str | None = None
    features: FeatureKind
    downsample: int | None = None
    codebook: int | None = None
    codebook_corpus: str | None = None
    codebook_seed: int | None = None
    dedup: bool | None = None
    bpe: int | None = None
    decoder: str
    recipe: str
    init: str | None = None
    seed: int

    @cached_property
    def id(self) -> str:
        """12 hex digits of the hash of the coordinates. A coordinate that is added later must leave out its default."""
        known = {key: value for key, value in self.coordinates.items() if value is not None}
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def coordinates(self) -> dict[str, Any]:
        """All coordinates by name, in their order."""
        return dataclasses.asdict(self)

    def start(self, variant: str | None) -> Cell | None:
        """The cell whose trained decoder this one starts from, if it starts from one.

        Args:
            variant: of that cell's task, where it has several.
        """
        if self.init is None:
            return None
        init = Init.parse(self.init)
        return dataclasses.replace(self, task=init.task, variant=variant, recipe=init.recipe or self.recipe, init=None)

    @property
    def label(self) -> str:
        """A short name for progress lines: `asr discrete apc layer1 k200 bpe400 seed0 4c3ab3`, the last of it its id's."""
        parts = [self.task + (f"-{self.variant}" if self.variant else ""), self.features]
        parts += [self.encoder or "", f"layer{self.layer}" if self.layer is not None else ""]
        parts += [f"every{self.downsample}" if self.downsample else "", f"k{self.codebook}" if self.codebook else ""]
        parts += [f"bpe{self.bpe}" if self.bpe else "", f"after-{self.init}" if self.init else ""]
        parts += [f"seed{self.seed}", self.id[:6]]
        return " ".join(part for part in parts if part)


def matches(cell: Cell, only: dict[str, set[str]]) -> bool:
    """Whether a cell has one of the wanted values in each coordinate of `only`, as `as_text` writes them."""
    return all(as_text(getattr(cell, key)) in wanted for key, wanted in only.items())


def as_text(value: Any) -> str:
    """A coordinate's value as the user writes it: `none` for None, `true`, `100`."""
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
