"""The comparison matrix: the records of all cells of a space, as JSON, CSV, a pandas frame, tables and HTML.

A record is a flat dict with every key of `KEYS`, null where it does not apply. `results` has one entry per test set:
`{"test_set", "split", "n", "metrics": {name: value}, "baseline": value of the primary metric for a trivial answer}`,
and, where statistics were asked for, `interval` and `comparison` with more (orchestrator/statistics/judging.py);
rates and accuracies are fractions of one, BLEU and chrF run to 100 as sacreBLEU gives them.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.cell import Cell
from orchestrator.report import latex, tables
from orchestrator.report.layout import Layout, lay_out

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Group

COORDINATES: tuple[str, ...] = tuple(field.name for field in fields(Cell))
"""What makes a cell: its id is the hash of these."""

KEYS: tuple[str, ...] = (
    *("cell", *COORDINATES, "status", "reason", "stopped", "primary", "dev", "results", "metrics", "baseline", "cost"),
)
"""The keys of a record, in the order in which they are written. A record may have more; they come last."""

STATUSES = ("ok", "failed", "missing", "stale")

COST: tuple[str, ...] = (
    *("train_seconds", "steps", "epochs", "tokens", "trials_at_once", "tokens_per_second_of_audio", "bits_per_second"),
    *("seconds_to_best", "flops", "flops_to_best", "peak_memory_bytes"),
    *("own_seconds", "shared_seconds", "shared_out_seconds", "total_seconds"),
    *("rtf", "first_token_seconds", "rtf_batched", "first_token_seconds_batched"),
)
"""The keys of a record's `cost` that its flat form has: of training, what the speech costs per second of audio, what was
spent on the cell and on what it shares, and what answering takes. A record may have more."""


@dataclass(frozen=True)
class Matrix:
    """All cells of a space, finished or not, in the order of the space.

    Attributes:
        space: the name of the search space.
        cells: one record for each cell.
        reference: what is said about the published figures of the space: source, grade, meaning of the grade, notes.
        question: what the space asks.
        about: what ran: versions, git state, corpora, seeds, hardware (orchestrator/about.py).
    """

    space: str
    cells: list[dict[str, Any]]
    reference: dict[str, Any] | None = None
    question: str = ""
    about: dict[str, Any] | None = None

    @cached_property
    def layout(self) -> Layout:
        """Rows, columns and entries: a row per feature configuration, a column per task metric and test set."""
        return lay_out(self.space, self.cells, self.reference, self.question)

    def counts(self) -> dict[str, int]:
        """How many cells there are of each status."""
        counter = Counter(cell["status"] for cell in self.cells)
        return {status: counter[status] for status in STATUSES}

    def to_json(self) -> str:
        """`{"space": …, "cells": […]}`: strict JSON, every key of `KEYS` in each cell, null for NaN and infinity."""
        body: dict[str, Any] = {"space": self.space, "cells": [ordered(cell) for cell in self.cells]}
        body |= {key: value for key in ("question", "reference", "about") if (value := getattr(self, key))}
        return json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Matrix:
        """Reads what `to_json` wrote."""
        body = json.loads(text)
        return cls(body["space"], body["cells"], body.get("reference"), body.get("question", ""), body.get("about"))

    def frame(self) -> pd.DataFrame:
        """One row per cell with flat columns, the same for every cell; absent values are missing values.

        Columns: `cell`, the coordinates, `status`, `reason`, `stopped`, `primary`; of the first test set `test_set`,
        `split`, `n`, `value` (of the primary metric), `baseline`; of its statistics `low`, `high`, `resampled`, `groups`,
        `against`, `difference`, `difference_low`, `difference_high`, `p`, `p_holm`; each metric by its name; of further
        test sets metrics as `<test set>.<metric>` and statistics as `<test set>.low` …; of the development set
        `dev.<name>`; last the costs as `cost_<name>`.
        """
        import pandas as pd

        parts = [_flat(cell) for cell in self.cells]
        groups = zip(*parts, strict=True) if parts else ()
        names = dict.fromkeys(name for group in groups for part in group for name in part)
        rows = [{name: value for part in row for name, value in part.items()} for row in parts]
        return pd.DataFrame({name: _series([row.get(name) for row in rows]) for name in names})

    def to_csv(self) -> str:
        """The frame as CSV, one line per cell, empty where a column does not apply."""
        return self.frame().to_csv(index=False, lineterminator="\n")

    def to_markdown(self) -> str:
        """The comparison table, its notes and the table of costs as Markdown."""
        return tables.markdown(self.layout)

    def to_html(self) -> str:
        """The same as a self-contained HTML fragment."""
        return tables.html(self.layout)

    def to_latex(self) -> str:
        """The comparison table for a paper (booktabs)."""
        return latex.latex(self.layout)

    def table(self, width: int = 100, with_intervals: bool = False) -> Group:
        """The same for a terminal of `width` characters, to be printed by rich; a table of intervals where wanted."""
        return tables.terminal(self.layout, width, with_intervals)


def ordered(cell: dict[str, Any]) -> dict[str, Any]:
    """A record with every key of the contract, in its order, and nothing that strict JSON cannot say.

    Its `analysis` of tokens and its learning `curve` are left out: they are large, `tokengrid tokens` prints the one and
    the report draws the other.
    """
    extra = [key for key in cell if key not in (*KEYS, "analysis", "curve")]
    return {key: _strict(cell.get(key)) for key in (*KEYS, *extra)}


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return value


def _flat(cell: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """The flat columns of a record, in groups, so that the groups of all cells can be put one after the other."""
    first, *others = cell["results"] or [{}]
    metrics = cell["metrics"] or {}
    return (
        {key: cell[key] for key in ("cell", *COORDINATES, "status", "reason", "stopped", "primary")}
        | ({"chosen": cell["tuning"]["chosen"]} if cell.get("tuning") else {}),
        {key: first.get(key) for key in ("test_set", "split", "n")},
        {"value": metrics.get(cell["primary"]), "baseline": cell["baseline"]},
        _sure(first, cell["primary"]),
        metrics,
        {
            f"{result['test_set']}.{name}": value
            for result in others
            for name, value in {**result["metrics"], **_sure(result, cell["primary"])}.items()
        },
        {f"dev.{name}": value for name, value in (cell["dev"] or {}).items()},
        {f"cost_{name}": (cell["cost"] or {}).get(name) for name in COST},
    )


def _sure(result: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """The flat statistics of one metric of a result; the same names whether they were asked for or not."""
    low, high = (result.get("interval") or {}).get(metric) or (None, None)
    found = result.get("comparison") or {}
    difference_low, difference_high = found.get("interval", {}).get(metric) or (None, None)
    return {
        **{"low": low, "high": high, "resampled": result.get("resampled"), "groups": result.get("groups")},
        **{"against": found.get("against"), "difference": found.get("difference", {}).get(metric)},
        **{"difference_low": difference_low, "difference_high": difference_high},
        **{name: found.get(name, {}).get(metric) for name in ("p", "p_holm")},
    }


def _series(values: list[Any]) -> pd.Series:
    """A column of one stable type: whole numbers stay whole where some cells have none, and so do truth values."""
    import pandas as pd

    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds == {int}:
        return pd.Series(values, dtype="Int64")
    if kinds and kinds <= {int, float}:
        return pd.Series(values, dtype="float64")
    return pd.Series(values, dtype="object")
