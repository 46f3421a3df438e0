"""A table of texts, as the template of the page writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of texts: the first `named` cells of a line are its headings, the others are right-aligned.

    Attributes:
        caption: what it shows; the accessible name.
        heads: one for each cell of a line.
    """

    caption: str
    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    named: int = 1

    def __post_init__(self) -> None:
        if any(len(line) != len(self.heads) for line in self.lines):
            raise ValueError(f"'{self.caption}' has {len(self.heads)} headings, and a line of another length")
