"""Problems: everything that is wrong with a file of the user's, said at once."""

from __future__ import annotations

from orchestrator.errors import UserError

SHOWN = 20
"""Places named of each kind of problem; the rest are counted."""


class Problems:
    """Collects problems by kind.

    Args:
        of: what has them, as the message begins: `the manifest /data/words.tsv`.
    """

    def __init__(self, of: str):
        self.of = of
        self._kinds: dict[str, list[str]] = {}

    def add(self, kind: str, place: str = "") -> None:
        """Notes one more problem of a kind (a sentence that says what to do) at a place (`line 12: a.wav`)."""
        self._kinds.setdefault(kind, []).append(place)

    def check(self) -> None:
        """Raises UserError with every problem so far; returns if there are none."""
        if self._kinds:
            raise UserError(f"{self.of} can't be used:" + "".join(_said(*item) for item in self._kinds.items()))


def _said(kind: str, places: list[str]) -> str:
    named = [place for place in places if place]
    if not named:
        return f"\n- {kind}"
    more = f"; and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return f"\n- {kind}\n  {len(named)}: " + "; ".join(named[:SHOWN]) + more
