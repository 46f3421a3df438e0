"""What the rows of a matrix cost: steps, tokens and seconds of training, tokens and bits per second of audio."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.report.words import BUDGET, NONE, is_number, short, show

COSTS = {
    "steps": "steps",
    "epochs": "epochs",
    "tokens": "tokens",
    "train_seconds": "train seconds",
    "tokens_per_second_of_audio": "tokens/s of audio",
    "bits_per_second": "bits/s",
}
"""The costs that the cost table shows, with their headings."""

Places = Mapping[tuple[str, tuple[Any, ...]], Sequence[Mapping[str, Any]]]


def mean_costs(keys: Sequence[str], places: Places) -> tuple[list[list[str]], str]:
    """Mean cost of a cell per row, over the columns that every row has finished, so that like is compared with like.

    Args:
        keys: the rows.
        places: the records (one a seed) by row and column.

    Returns:
        Per row the texts of `COSTS` (none where no cell is finished), and a caption.
    """
    done: dict[str, dict[tuple[Any, ...], list[Mapping[str, Any]]]] = {key: {} for key in keys}
    for (key, column), cells in places.items():
        if finished := [cell for cell in cells if cell["status"] == "ok" and cell["cost"]]:
            done[key][column] = finished
    started = [set(columns) for columns in done.values() if columns]
    common = set.intersection(*started) if started else set()
    shared = [cell for columns in done.values() for cells in columns.values() for cell in cells]
    together = sorted({show(cell["cost"].get("trials_at_once")) for cell in shared} - {NONE})
    caption = (
        f"mean of a cell over the {len(common)} columns that every row has finished"
        if common
        else "mean of a cell over what each row has finished (rows cover different columns)"
    ) + (f" · trials at once: {', '.join(together)}" if together else "")
    texts = []
    for key in keys:
        cells = [cell for column, cs in done[key].items() if not common or column in common for cell in cs]
        line = []
        for name in COSTS:
            values = [cell["cost"][name] for cell in cells if is_number(cell["cost"].get(name))]
            line.append(short(statistics.fmean(values)) if values else NONE)
        if cells and any(cell["stopped"] == "budget" for cell in cells):
            line[0] += BUDGET
        texts.append(line if cells else [])
    return texts, caption
