"""How values, coordinates and cells are written for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

OF_HUNDRED = ("bleu", "chrf")
"""Scores that run to 100 as they are. Every other metric is a fraction of one and shown in percent."""

HEADINGS = {
    "wer": "WER",
    "cer": "CER",
    "per": "PER",
    "bleu": "BLEU",
    "chrf": "chrF",
    "accuracy": "acc",
    "macro_f1": "F1",
}
"""Short names of metrics; one that isn't here is shown by its own name."""

BUDGET, GUESSING, ABSENT, NONE = "†", "‡", "·", "–"
"""Signs in a table: stopped by its budget, no better than guessing, not in this space, does not apply."""


def show(value: Any) -> str:
    """A coordinate as people read it."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def describe(cell: Mapping[str, Any]) -> str:
    """A short name of a cell for people, such as `asr discrete apc/1 k250 bpe500 tiny seed 0`."""
    parts = (
        *(cell["task"], cell["variant"], cell["features"]),
        cell["encoder"] and f"{cell['encoder']}/{show(cell['layer'])}",
        cell["codebook"] is not None and f"k{cell['codebook']}",
        cell["bpe"] is not None and f"bpe{cell['bpe']}",
        cell["dedup"] is False and cell["features"] == "discrete" and "with repeats",
        cell["dedup"] is True and cell["features"] == "centroids" and "without repeats",
        cell["init"] and f"after {cell['init']}",
        cell["decoder"],
        cell["fold"] is not None and f"fold {cell['fold']}",
        cell["seed"] is not None and f"seed {cell['seed']}",
    )
    return " ".join(str(part) for part in parts if part)


def is_number(value: Any) -> bool:
    """Whether a value can be shown and compared: a finite number."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def short(value: float) -> str:
    """A cost with two or three significant digits."""
    if 0 < value < 1:
        return f"{value:.2g}"
    if value < 10:
        return f"{value:.1f}"
    if value < 10_000:
        return f"{value:,.0f}"
    if value < 1e7:
        return f"{value / 1e3:,.0f} k"
    return f"{value / 1e6:,.0f} M" if value < 1e10 else f"{value:.2g}".replace("e+", "e")
