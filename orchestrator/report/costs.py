"""What the rows of a matrix cost: training, what it shares with others, tokens and bits per second of audio, answering."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.report.words import BUDGET, NONE, is_number, short, show

COSTS = {
    "steps": "steps",
    "epochs": "epochs",
    "tokens": "tokens",
    "flops": "FLOPs",
    "train_seconds": "train seconds",
    "shared_out_seconds": "share of shared seconds",
    "peak_memory_bytes": "peak memory, MB",
    "tokens_per_second_of_audio": "tokens/s of audio",
    "bits_per_second": "bits/s",
    "first_token_seconds": "first token, ms",
    "rtf": "RTF",
    "rtf_batched": "RTF in batches",
}
"""The costs that the cost table shows where some row has them, with their headings (docs/cost.md says what they are)."""
SCALES = {"peak_memory_bytes": 1e-6, "first_token_seconds": 1e3}
"""What a cost is multiplied with to be in the unit of its heading."""

Places = Mapping[tuple[str, tuple[Any, ...]], Sequence[Mapping[str, Any]]]


def mean_costs(keys: Sequence[str], places: Places) -> tuple[list[str], list[list[str]], str]:
    """Mean cost of a cell per row, over the columns that every row has finished, so that like is compared with like.

    Args:
        keys: the rows.
        places: the records (one a seed) by row and column.

    Returns:
        The headings; per row its texts (none where no cell is finished); and a caption.
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
        f"mean of a cell over the {f'{len(common)} columns' if len(common) > 1 else 'column'} that every row has finished"
        if common
        else "mean of a cell over what each row has finished (rows cover different columns)"
    ) + (f" · trials at once: {', '.join(together)}" if together else "")
    texts = []
    names = [name for name in COSTS if any(is_number(cell["cost"].get(name)) for cell in shared)]
    for key in keys:
        cells = [cell for column, cs in done[key].items() if not common or column in common for cell in cs]
        line = []
        for name in names:
            scale = SCALES.get(name, 1)
            values = [scale * cell["cost"][name] for cell in cells if is_number(cell["cost"].get(name))]
            line.append(short(statistics.fmean(values)) if values else NONE)
        if cells and any(cell["stopped"] == "budget" for cell in cells):
            line[:1] = [text + BUDGET for text in line[:1]]
        texts.append(line if cells else [])
    return [COSTS[name] for name in names], texts, caption
