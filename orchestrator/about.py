"""About a grid: what ran, where, with which versions and seeds, over which corpora."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator import provenance
from orchestrator.cell import Cell
from orchestrator.corpora import Indexed
from orchestrator.graph import Graph
from orchestrator.results import is_finished
from orchestrator.store import Store


def about(graph: Graph, store: Store, cells: Sequence[Cell]) -> dict[str, Any]:
    """What the finished cells were made with, as their artifacts say; of a space without one, what this process is.

    Returns:
        made (now), versions, python, machine, git, devices, seeds, corpora. Where cells differ in a version, or in the
        commit, all of them are named.
    """
    finished = [graph.scorings[cell] for cell in cells if is_finished(store, graph.scorings[cell])]
    manifests = [store.open(stage).manifest for scoring in finished for stage in (scoring.training, scoring)]
    made_with = manifests or [provenance.of_this_process()]
    libraries = dict.fromkeys(name for manifest in made_with for name in manifest["versions"])
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: _all(manifest["versions"].get(name) for manifest in made_with) for name in libraries},
        "python": _all(manifest["python"] for manifest in made_with),
        "machine": _all(manifest["machine"] for manifest in made_with),
        "git": _git(made_with),
        "devices": list(dict.fromkeys(manifest["device"] for manifest in manifests)),
        "seeds": sorted({cell.seed for cell in cells}),
        "corpora": [_corpus(graph, corpus) for corpus in graph.corpora.values()],
    }


def _all(values: Iterable[Any]) -> str | None:
    return ", ".join(dict.fromkeys(str(value) for value in values if value)) or None


def _git(manifests: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    states = [manifest["git"] for manifest in manifests if manifest["git"]]
    if not states:
        return None
    return {"commit": _all(state["commit"] for state in states), "dirty": any(state["dirty"] for state in states)}


def _corpus(graph: Graph, corpus: Indexed) -> dict[str, Any]:
    """Utterances and hours by split; hours are None where nobody has measured them."""
    splits = {
        str(split): {"utterances": len(rows), "hours": None if rows.isna().any() else float(rows.sum()) / 3600}
        for split, rows in corpus.table.groupby("split", sort=False)["seconds"]
    }
    return {
        "name": corpus.name,
        "reader": graph.space.corpora[corpus.name].reader,
        "splits": splits,
        "quarantine": corpus.quarantine[["id", "reason"]].to_dict("records"),
    }
