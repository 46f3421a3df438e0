"""Baselines: which cell a cell is compared with. By default the continuous one that is otherwise the same."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.cell import Cell, as_text
from orchestrator.errors import UserError, suggest
from orchestrator.recipes import family_of
from tasks.metrics import direction

Record = Mapping[str, Any]

DEFAULT: Mapping[str, str] = {"features": "continuous"}
TEST = ("task", "variant", "corpus", "fold")
"""Coordinates that say what is asked: a baseline never differs in them."""
SPEECH = ("encoder", "layer")
"""Coordinates that a decoder without speech has not."""
KIND = ("downsample", "codebook", "codebook_corpus", "codebook_seed", "dedup", "bpe")
"""Coordinates that belong to a kind of features, and say nothing about another."""


def parse(given: Sequence[str]) -> dict[str, str]:
    """Reads `features=none`, `layer=9` …; the default where nothing is given.

    Raises:
        UserError: an entry is no coordinate=value, or names what a baseline can't differ in.
    """
    allowed = [name for name in Cell.__dataclass_fields__ if name not in (*TEST, "seed")]
    wanted: dict[str, str] = {}
    for entry in given:
        key, sign, value = entry.partition("=")
        if not sign or not value:
            raise UserError(f"--baseline wants coordinate=value, got '{entry}'; {suggest(key, allowed)}")
        if key in TEST:
            raise UserError(f"--baseline {entry}: scores are compared on the same {', '.join(TEST)} only; leave it out")
        if key == "seed":
            raise UserError(
                f"--baseline {entry}: every seed is compared with the same seed of the baseline; leave it out"
            )
        if key not in allowed:
            raise UserError(f"cells have no coordinate '{key}'; {suggest(key, allowed)}")
        if wanted.setdefault(key, value) != value:
            raise UserError(f"--baseline gives two values of {key}: {wanted[key]} and {value}; a baseline has one")
    return wanted or dict(DEFAULT)


class Baselines:
    """Finds the baseline of a cell among the records of a space.

    Every coordinate that `wanted` doesn't name is the cell's own; a recipe counts by its family, of which the learning
    rate that dev chose is taken. Where `wanted` names the features, coordinates of a kind of features may differ: of
    several such cells that is taken which agrees in the most of them, then that which is best on dev.
    """

    def __init__(self, records: Sequence[Record], wanted: Mapping[str, str]):
        known = {key: {as_text(record[key]) for record in records} for key in wanted}
        for key, value in wanted.items():
            if records and value not in known[key] and dict(wanted) != dict(DEFAULT):
                raise UserError(f"no cell has {key}={value}, the baseline; {suggest(value, sorted(known[key]))}")
        self._wanted = wanted
        self._candidates = [record for record in records if self.includes(record) and not _spared(record)]
        self._dev: dict[str, list[float]] = {}
        for candidate in self._candidates:
            value = (candidate["dev"] or {}).get(candidate["primary"]) if candidate["status"] == "ok" else None
            if value is not None:
                self._dev.setdefault(place_of(candidate), []).append(value)

    @property
    def text(self) -> str:
        """Such as `features=none`."""
        return ", ".join(f"{key}={value}" for key, value in self._wanted.items())

    def includes(self, record: Record) -> bool:
        """Whether a record is itself a baseline."""
        return all(as_text(record[key]) == value for key, value in self._wanted.items())

    def of(self, record: Record) -> Record | str | None:
        """The baseline of a record, the reason why it has none that is finished, or None where it is one itself."""
        if self.includes(record):
            return None
        if _spared(record):
            return "dev chose another learning rate of its family"
        found = [candidate for candidate in self._candidates if self._is_same(candidate, record)]
        if not found:
            return f"no cell shown has {self.text} and is otherwise the same"
        best = min(found, key=lambda candidate: self._preference(candidate, record))
        return best if best["status"] == "ok" else f"its baseline {best['cell']} is {best['status']}"

    def _is_same(self, candidate: Record, record: Record) -> bool:
        free = {*self._wanted, *(KIND if "features" in self._wanted else ())}
        free |= set(SPEECH) if "none" in (candidate["features"], record["features"]) else set()
        return all(_of(candidate, name) == _of(record, name) for name in Cell.__dataclass_fields__ if name not in free)

    def _preference(self, candidate: Record, record: Record) -> tuple[Any, ...]:
        """Smallest for the nearest; then for the best on dev over all seeds, so that every seed has the same baseline."""
        agreeing = sum(candidate[name] == record[name] for name in (*SPEECH, *KIND))
        place = place_of(candidate)
        dev = self._dev.get(place)
        return -agreeing, math.inf if not dev else -direction(candidate["primary"]) * statistics.fmean(dev), place


def place_of(record: Record) -> str:
    """What cells have in common that differ in their seed alone."""
    return json.dumps([record[name] for name in Cell.__dataclass_fields__ if name != "seed"])


def _of(record: Record, name: str) -> Any:
    return family_of(record[name])[0] if name == "recipe" else record[name]


def _spared(record: Record) -> bool:
    """Whether a record is a member of a family that dev has not chosen: trained to be tried, not to be compared."""
    return not (record.get("tuning") or {"chosen": True})["chosen"]
