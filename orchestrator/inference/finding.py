"""Finding: a trained cell in a store by its id, or the beginning of it. Neither its space nor its corpus is needed."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from orchestrator import encoders, space_file
from orchestrator.audio import Limits
from orchestrator.cell import Cell
from orchestrator.encoders.hf import CHECKPOINTS
from orchestrator.errors import StageError, UserError
from orchestrator.inference.places import recall
from orchestrator.inference.restore import Manifest, restore
from orchestrator.inference.trained import Trained
from orchestrator.space import Space
from orchestrator.stages.scoring import Scoring
from orchestrator.store import Store

SHOWN = 20
"""How many cells an error names."""
NAMED = 6
"""Digits of a cell's id that end the name of its training."""


def find(store: Store, cell: str, space: str | None = None) -> Trained:
    """A finished cell.

    Args:
        cell: its id, or the beginning of it.
        space: that has the cell; where checkpoints are is looked up in it too.

    Raises:
        UserError: there is no such cell, more than one, or it is not finished; names those that there are.
    """
    loaded = space_file.load(space) if space else None
    known = _cells(store)
    wanted = cell.strip().lower()
    matching = [name for name in known if name.startswith(wanted)] if wanted else []
    if loaded is not None:
        matching = [name for name in matching if name in {one.id for one in loaded.cells()}]
    if len(matching) != 1:
        raise UserError(_told(store, wanted, matching, known, loaded))
    (name,) = matching
    identity = _newest(store, name)
    if identity is None:
        raise UserError(
            f"the cell {name} was finished once, but the store {store.root} no longer has its result: run its space again"
        )
    return _trained(store, identity, known[name], loaded)


def _trained(store: Store, identity: str, coordinates: Mapping[str, Any], space: Space | None) -> Trained:
    scoring = restore(
        "scoring", identity, lambda *key: _manifest(store, *key), _checkpoints(store, identity, coordinates, space)
    )
    assert isinstance(scoring, Scoring)
    return Trained(scoring, store.open, coordinates, _limits(store, scoring))


def _cells(store: Store) -> dict[str, dict[str, Any]]:
    """The coordinates of every cell that was ever finished, by its id."""
    found = {}
    for folder in sorted((store.root / "cells").glob("*")):
        for note in sorted(folder.glob("*"))[:1]:  # all of a cell's have the same coordinates
            found[folder.name] = json.loads(note.read_text("utf-8"))
    return found


def _newest(store: Store, cell: str) -> str | None:
    """The identity of the scoring of a cell that was made last, of those that are there with their trainings."""
    made = {}
    for note in (store.root / "cells" / cell).glob("*"):
        try:
            scoring = _manifest(store, "scoring", note.name)
            name, _, training = scoring["config"]["training"].rpartition(":")
            _manifest(store, name, training)
        except StageError:
            continue
        made[note.name] = scoring["made"]
    return max(made, key=made.__getitem__, default=None)


def _manifest(store: Store, name: str, identity: str) -> Manifest:
    for path in (store.root / "store" / name).glob(f"*-{identity}/artifact.json"):
        try:
            return json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            continue
    raise StageError(f"the store {store.root} lacks the {name} {identity}, which the cell was made from: run it again")


def _checkpoints(
    store: Store, identity: str, coordinates: Mapping[str, Any], space: Space | None
) -> Callable[[str], str]:
    """Says where the checkpoint of a content is: noted when the cell was finished, saved with the decoder, or named."""
    training = _manifest(store, "scoring", identity)["config"]["training"].rpartition(":")[2]
    saved: dict[str, str] = {}
    for path in (store.root / "store" / "training").glob(f"*-{training}/model/model.json"):
        decoder = json.loads(path.read_text("utf-8"))["decoder"]
        saved = {decoder.get("content", ""): decoder.get("checkpoint", "")}
    name = coordinates.get("encoder") or ""
    config = (space.encoders.get(name) if space else None) or encoders.PRESETS.get(name)
    named = getattr(config, "checkpoint", None)

    def where(content: str) -> str:
        found = recall(store, content) or saved.get(content) or CHECKPOINTS.get(named, named)
        if not found:
            raise UserError(
                f"where the checkpoint of the encoder '{name}' is was not noted when this cell was finished: name the "
                "space that defines it with --space"
            )
        return found

    return where


def _limits(store: Store, scoring: Scoring) -> Limits:
    """Recordings as long as those of its corpus are taken, and as long as corpora take by default."""
    usual = Limits()
    indexed = getattr(scoring.training.speech, "indexed", ())
    if not indexed or not store.has(indexed[0].recordings):
        return usual
    table = store.open(indexed[0].recordings).file("recordings.parquet")
    seconds = pd.read_parquet(table, columns=["seconds"])["seconds"]
    return Limits(min(usual.min_seconds, float(seconds.min())), max(usual.max_seconds, float(seconds.max())))


def _told(store: Store, wanted: str, matching: list[str], known: Mapping[str, Any], space: Space | None) -> str:
    """Why no cell is found, and which ones there are."""
    if len(matching) > 1:
        return f"{len(matching)} cells begin with '{wanted}': give more of the id.{_listed(matching, known)}"
    if len(wanted) >= NAMED and (why := _failure(store, wanted)):
        return f"the cell {wanted} failed when it was last run: {why}"
    unfinished = [cell for cell in (space.cells() if space else []) if wanted and cell.id.startswith(wanted)]
    if unfinished:
        return f"the cell {unfinished[0].id} ({unfinished[0].label}) is not finished: tokengrid run {space.name}"
    if not known:
        return f"the store {store.root} has no finished cell: run a space first, or name the store with --store"
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
    there = [name for name in known if space is None or name in {cell.id for cell in space.cells()}]
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return (
        f"no finished cell begins with '{wanted}', and no folder of an export is named so.{hint}{_listed(there, known)}"
    )


def _listed(names: list[str], known: Mapping[str, Any]) -> str:
    lines = "".join(f"\n  {name}  {Cell(**known[name]).label.rpartition(' ')[0]}" for name in names[:SHOWN])
    return lines + (
        f"\n  and {len(names) - SHOWN} more: tokengrid matrix SPACE --format csv" if len(names) > SHOWN else ""
    )


def _failure(store: Store, wanted: str) -> str | None:
    """Why a cell failed, as the record of its last try has it."""
    for name in ("scoring", "training"):
        for path in (store.root / "store" / name).glob("*.failed.json"):
            record = json.loads(path.read_text("utf-8"))
            if str(record.get("readable", "")).endswith(f" {wanted[:NAMED]}"):
                return f"{record['reason']} (log: {record['log']})" if record.get("log") else str(record["reason"])
    return None
