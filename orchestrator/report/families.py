"""Recipe families in the matrix: of several learning rates the one that dev chose, under the family's name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.recipes import family_of
from orchestrator.report.words import describe

Cells = Sequence[Mapping[str, Any]]


def folded(cells: Cells, coordinates: Sequence[str]) -> tuple[Cells, list[str]]:
    """The cells of a matrix, of each family the chosen member; all of its members where nothing is chosen yet.

    Args:
        coordinates: that tell places in the matrix apart, the recipe among them.

    Returns:
        The cells, and a note on what was chosen where.
    """
    decided = {_place(cell, coordinates) for cell in cells if _tuning(cell).get("chosen")}
    kept: list[Mapping[str, Any]] = []
    chosen: dict[str, None] = {}
    for cell in cells:
        tuning = _tuning(cell)
        if not tuning:
            kept.append(cell)
        elif tuning["chosen"] or _place(cell, coordinates) not in decided:
            kept.append({**cell, "recipe": tuning["family"]})
            if tuning["chosen"]:
                name = f"{describe({**cell, 'seed': None})} {cell['corpus']}"
                chosen[f"{name} {tuning['learning_rate']:g} ({tuning['tried']} of {tuning['of']} tried)"] = None
    return kept, [f"learning rate chosen on dev: {'; '.join(chosen)}"] if chosen else []


def _tuning(cell: Mapping[str, Any]) -> Mapping[str, Any]:
    return cell.get("tuning") or {}


def _place(cell: Mapping[str, Any], coordinates: Sequence[str]) -> str:
    return json.dumps([family_of(cell["recipe"])[0], *(cell[name] for name in coordinates if name != "recipe")])
