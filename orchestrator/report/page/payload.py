"""What the script of the page reads: the places of the matrix and the errors, as compact JSON.

A place is a list in the order of `FIELDS` (a short one where nothing is finished), and texts that recur (reasons, logs,
baselines) stand once in `texts`, so that thousands of cells stay small.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.report.intervals import ALPHA
from orchestrator.report.page.sources import playable
from orchestrator.report.words import HEADINGS, OF_HUNDRED, is_number

if TYPE_CHECKING:
    from orchestrator.matrix import Matrix
    from orchestrator.report.layout import Column, Entry
    from orchestrator.report.places import Place

COSTS: Mapping[str, tuple[str, str]] = {
    "train_seconds": ("training", "seconds"),
    "total_seconds": ("all stages, its share", "seconds"),
    "shared_seconds": ("stages it shares, whole", "seconds"),
    "steps": ("optimiser steps", "count"),
    "epochs": ("epochs", "count"),
    "flops": ("training FLOPs", "count"),
    "tokens_per_second_of_audio": ("tokens per second of audio", "count"),
    "bits_per_second": ("bits per second of audio", "count"),
    "rtf": ("real-time factor, one at a time", "factor"),
    "first_token_seconds": ("first token, one at a time", "seconds"),
    "rtf_batched": ("real-time factor, in batches", "factor"),
    "first_token_seconds_batched": ("first token, in batches", "seconds"),
    "peak_memory_bytes": ("peak memory of training", "bytes"),
}
"""The costs of a cell that a card shows: what they are called, and how they are written."""

Record = Mapping[str, Any]

VIEWS = ("train_seconds", "total_seconds", "flops", "bits_per_second", "rtf", "first_token_seconds")
"""The costs that the matrix can show instead of scores."""

FIELDS = (
    *("status", "others", "problems", "value", "low", "high", "drawn", "n", "seeds", "deviation", "dev"),
    *("difference", "difference_low", "difference_high", "p", "against", "uncompared", "published", "stopped", "cells"),
    *("costs", "stages"),
)
TEXT_LIMIT = 2000
"""Characters of a reason that the page takes; the log has the whole."""


class Texts:
    """Texts that recur, each once."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._index: dict[str, int] = {}

    def __call__(self, text: Any) -> int | None:
        """Where a text stands; None for none."""
        if not text:
            return None
        said = shortened(str(text))
        if said not in self._index:
            self._index[said] = len(self.all)
            self.all.append(said)
        return self._index[said]


class Stages:
    """The stages behind the cells: those that cells share, each once."""

    def __init__(self, texts: Texts) -> None:
        self.all: list[list[Any]] = []
        self._texts = texts
        self._index: dict[str, int] = {}

    def __call__(self, record: Record) -> list[Any]:
        """Of a cell where the stages that it shares stand, and its own ones in full."""
        found: list[Any] = []
        for line in (record["cost"] or {}).get("stages") or ():
            one = [self._texts(line["stage"]), line["seconds"], line["cells"], self._texts(line["device"])]
            one += [line["peak_memory_bytes"]]
            if line["cells"] == 1:
                found.append(one)
                continue
            if line["identity"] not in self._index:
                self._index[line["identity"]] = len(self.all)
                self.all.append([*one, self._texts(line["name"])])
            found.append(self._index[line["identity"]])
        return found


def shortened(text: str) -> str:
    """A text of at most `TEXT_LIMIT` characters; what is cut is told."""
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]} … ({len(text) - TEXT_LIMIT:,} characters more)"


def payload(matrix: Matrix, lines: Sequence[Sequence[Place]], mistakes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Everything that the script needs beyond what stands in the tables already.

    Args:
        lines: the places of the layout, `[rows][columns]`.
    """
    layout = matrix.layout
    texts = Texts()
    stages = Stages(texts)
    cells = [
        [
            _place(place.entry, place.cells, column, texts, stages)
            for place, column in zip(line, layout.columns, strict=True)
        ]
        for line in lines
    ]
    costs = FIELDS.index("costs")
    whole = [place for line in cells for place in line if place and len(place) == len(FIELDS)]
    known = {i for place in whole for i, value in enumerate(place[costs]) if value is not None}
    return {
        "space": matrix.space,
        "labels": [name.replace("_", " ") for name in layout.labels],
        "columns": [_column(column, floor) for column, floor in zip(layout.columns, layout.floors, strict=True)],
        "fields": FIELDS,
        "alpha": ALPHA,
        "costs": [[name, *about] for name, about in COSTS.items()],
        "views": [i for i, name in enumerate(COSTS) if name in VIEWS and i in known],
        "places": cells,
        "texts": texts.all,
        "stages": stages.all,
        "mistakes": [_mistakes(one) for one in mistakes],
    }


def as_json(value: Any) -> str:
    """JSON that is inert inside of a script element, whatever texts it has; null for NaN and infinity."""
    text = json.dumps(_strict(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _strict(value: Any) -> Any:
    """Floats with six digits, which is more than anybody reads, and nothing that JSON can't say."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return value


def _column(column: Column, floor: float | None) -> dict[str, Any]:
    return {
        "title": column.title,
        "heading": column.heading,
        "better": column.better,
        "scale": 1 if column.metric in OF_HUNDRED else 100,
        "decimals": column.decimals,
        "floor": floor,
        "baseline": column.baseline,
    }


def _place(entry: Entry, records: Sequence[Record], column: Column, texts: Texts, stages: Stages) -> list[Any] | None:
    """A place in the order of `FIELDS`; None where the space has no such cell, or it is the trivial baseline."""
    if not records:
        return None
    problems = [
        [texts(one["status"]), one["cell"], texts(one["reason"]), texts(one.get("log")), one["seed"]]
        for one in records
        if one["status"] != "ok"
    ]
    done = [
        (one, result)
        for one in records
        if one["status"] == "ok"
        for result in one["results"] or ()
        if result["test_set"] == column.test_set
    ]
    if not done:
        return [texts(entry.status), [], problems]
    metric = column.metric or ""
    values = [result["metrics"].get(metric) for _, result in done]
    values = [value for value in values if is_number(value)]
    sure = entry.certainty
    low, high = (sure.interval if sure else None) or (None, None)
    difference_low, difference_high = (sure.difference_interval if sure else None) or (None, None)
    fields = {
        "status": texts(entry.status),
        "others": _others(done, metric, texts),
        "problems": problems,
        "value": entry.value,
        "low": low,
        "high": high,
        "drawn": texts(sure.drawn) if sure else None,
        "n": done[0][1].get("n"),
        "seeds": [len(done), len(records)],
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "dev": _mean((one["dev"] or {}).get(metric) for one, _ in done),
        "difference": sure.difference if sure else None,
        "difference_low": difference_low,
        "difference_high": difference_high,
        "p": sure.p if sure else None,
        "against": texts(sure.baseline) if sure else None,
        "uncompared": texts(sure.reason) if sure else None,
        "published": texts(entry.reference),
        "stopped": texts("budget" if any(one["stopped"] == "budget" for one, _ in done) else done[0][0]["stopped"]),
        "cells": [one["cell"] for one in records],
        "costs": [_mean((one["cost"] or {}).get(name) for one, _ in done) for name in COSTS],
        "stages": stages(done[0][0]),
    }
    return [fields[name] for name in FIELDS]


def _others(done: Sequence[tuple[Record, Mapping[str, Any]]], metric: str, texts: Texts) -> list[list[Any]]:
    """The further metrics of a place: where the name stands, the mean over seeds, and what it is multiplied by."""
    names = [name for name in done[0][1]["metrics"] if name != metric]
    means = {name: _mean(result["metrics"].get(name) for _, result in done) for name in names}
    return [[texts(HEADINGS.get(name, name)), means[name], 1 if name in OF_HUNDRED else 100] for name in names]


def _mean(values: Any) -> float | None:
    known = [value for value in values if is_number(value)]
    return statistics.fmean(known) if known else None


def _mistakes(one: Mapping[str, Any]) -> dict[str, Any]:
    """The errors of a column; an address of audio that is none of ours is left out, and told."""
    utterances = [{**utterance, "audio": playable(utterance.get("audio"))} for utterance in one["utterances"]]
    return {**one, "utterances": utterances}
