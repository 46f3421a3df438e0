"""How values are written so that MLflow takes them: metrics, points of curves, parameters, tags."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.cell import as_text
from orchestrator.report.words import is_number

if TYPE_CHECKING:
    from mlflow.entities import Metric

TAG_CHARACTERS = 7000
"""MLflow cuts a tag at 8000 characters; here it is cut earlier, and says so."""

NUMBERS = ("layer", "downsample", "codebook", "codebook_seed", "bpe", "seed")
"""Coordinates that are numbers where they apply."""

JUDGES = ("dev_error", "dev_loss", "train_loss")
"""Columns of a learning curve that are drawn as `curve/…`; the others (epoch, tokens …) are axes to draw them against."""


def task_metric(record: Mapping[str, Any]) -> str:
    """The metric of a column of the matrix: only its cells have it, so that one chart never mixes tasks."""
    parts = ("-".join(filter(None, (record["task"], record["variant"]))), record["corpus"], record["primary"])
    return metric_name(f"by task/{' '.join(map(str, parts))}")


def scores(record: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of a result: none of them ever changes."""
    primary = (record["metrics"] or {}).get(record["primary"])
    named = {"primary": primary, "baseline": record["baseline"], task_metric(record): primary}
    for result in record["results"] or ():
        named |= {f"{result['test_set']}/{name}": value for name, value in result["metrics"].items()}
        named |= {f"{result['test_set']}/n": result["n"]}
    return named | {f"dev/{name}": value for name, value in (record["dev"] or {}).items()}


def judgements(record: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics that depend on other cells, or come later: costs, intervals, comparisons (of the first test set)."""
    named = {f"cost/{name}": value for name, value in (record["cost"] or {}).items()}
    first = (record["results"] or [{}])[0]
    low, high = (first.get("interval") or {}).get(record["primary"]) or (None, None)
    named |= {"interval/low": low, "interval/high": high}
    against = first.get("comparison") or {}
    for name in ("difference", "p", "p_holm"):
        named[f"comparison/{name}"] = (against.get(name) or {}).get(record["primary"])
    return {name: value for name, value in named.items() if is_number(value)}


def curve(rows: Iterable[Mapping[str, Any]], start: int) -> Iterator[Metric]:
    """The points of a learning curve, each at the time at which it was measured.

    Args:
        start: of the training, in milliseconds; a row's `seconds` count from there.
    """
    for row in rows:
        named = {f"{'curve' if k in JUDGES else 'progress'}/{k}": v for k, v in row.items() if k != "step"}
        seconds = row.get("seconds")
        at = start + int(1000 * seconds) if is_number(seconds) else start
        yield from points(named, int(row["step"]), at)


def points(named: Mapping[str, Any], step: int, timestamp: int) -> Iterator[Metric]:
    """Metrics of all values that are numbers: MLflow would store infinity as 1.8e308, and draw NaN as a point."""
    from mlflow.entities import Metric

    for name, value in named.items():
        if is_number(value):
            yield Metric(metric_name(name), float(value), timestamp, step)


def metric_name(name: str) -> str:
    """A name that MLflow takes: word characters, dots, dashes, blanks, slashes and colons."""
    return re.sub(r"[^\w.\-/: ]", "_", name, flags=re.ASCII)


def digest(value: Any) -> str:
    """A hash of plain values, whatever they are: only equality counts."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def param(name: str, value: Any) -> str:
    """A coordinate as MLflow shows it, and draws it in parallel coordinates.

    Every cell has every parameter. Where it does not apply, MLflow draws an empty one at zero of an axis of numbers, but
    leaves out runs that have one on an axis of words: there it is `none`, as on the command line.
    """
    return as_text(value) if value is None and name not in NUMBERS else text(value)


def text(value: Any) -> str:
    """A value as MLflow shows it; empty where there is none."""
    if value is None:
        return ""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def cut(value: Any) -> str:
    """A tag as MLflow takes it."""
    whole = text(value)
    return whole if len(whole) <= TAG_CHARACTERS else whole[:TAG_CHARACTERS] + " … (cut)"
