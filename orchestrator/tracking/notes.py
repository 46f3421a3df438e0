"""Descriptions in Markdown, which MLflow shows above a run and above an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.report.words import HEADINGS, OF_HUNDRED, is_number, short
from tasks.metrics import direction

COSTS = (
    ("train_seconds", "training", "s"),
    ("steps", "steps", ""),
    ("epochs", "epochs", ""),
    ("tokens", "tokens", ""),
    ("total_seconds", "with its share of shared stages", "s"),
    ("bits_per_second", "bitrate", "bit/s"),
    ("tokens_per_second_of_audio", "tokens per second of audio", ""),
    ("rtf", "real-time factor, one at a time", ""),
)
"""The costs that a description names, with words and units."""


def of_cell(record: Mapping[str, Any]) -> str:
    """Score, certainty and cost of a cell; the reason of one that failed."""
    if record["status"] != "ok":
        return f"**failed**: {record['reason']}" + (f"\n\nLog: `{record['log']}`" if record.get("log") else "")
    metric = record["primary"]
    lines = ["| test set | score | 95 % interval | without speech | utterances |", "|---|---|---|---|---|"]
    for result in record["results"]:
        low, high = (result.get("interval") or {}).get(metric) or (None, None)
        interval = f"{_value(metric, low)} – {_value(metric, high)}" if is_number(low) else "–"
        score = f"**{_value(metric, result['metrics'].get(metric))}** {HEADINGS.get(metric, metric)}"
        cells = (result["test_set"], score, interval, _value(metric, result["baseline"]), str(result["n"]))
        lines.append(f"| {' | '.join(cells)} |")
    first = record["results"][0]
    parts = ["\n".join(lines), _compared(first, metric), _cost(record)]
    if record["stopped"] == "budget":
        parts.append("Training was stopped by its budget, before it had converged.")
    return "\n\n".join(part for part in parts if part)


def of_space(space: str, question: str, columns: Sequence[str]) -> str:
    """What an experiment asks, and how to read it."""
    return "\n\n".join(
        part
        for part in (
            f"**{question}**" if question else "",
            f"Runs of the search space `{space}`: a parent run is a launch, its child runs are cells of the grid. Each "
            "parent has the comparison matrix, the figures and the report among its artifacts; each cell its learning "
            "curve, its predictions (`predictions.json`, to compare answers of several runs side by side) and what it "
            "was trained and tested on.",
            "*Views* (at the top right) has charts made for this space: one view of all tasks, and one for each task, "
            "with its scores, learning curves and parallel coordinates.",
            "`primary` is the score that decides, on the first test set; `baseline` is what an answer without speech "
            "scores. Rates and accuracies are fractions of one; BLEU and chrF run to 100. Here: "
            + "; ".join(columns)
            + "."
            if columns
            else "",
        )
        if part
    )


def column(record: Mapping[str, Any]) -> str:
    """`asr by WER (lower is better)`."""
    task, metric = "-".join(filter(None, (record["task"], record["variant"]))), record["primary"]
    better = "higher" if direction(metric) > 0 else "lower"
    return f"{task} by {HEADINGS.get(metric, metric)} ({better} is better)"


def _value(metric: str, value: Any) -> str:
    if not is_number(value):
        return "–"
    return f"{value:.2f}" if metric in OF_HUNDRED else f"{100 * value:.2f} %"


def _compared(result: Mapping[str, Any], metric: str) -> str:
    found = result.get("comparison") or {}
    difference = (found.get("difference") or {}).get(metric)
    if not is_number(difference):
        return ""
    p = (found.get("p_holm") or {}).get(metric)
    points = difference if metric in OF_HUNDRED else 100 * difference
    told = f", p = {p:.3g} (corrected by Holm)" if is_number(p) else ""
    return f"{points:+.2f} points against {found['baseline']}{told}."


def _cost(record: Mapping[str, Any]) -> str:
    cost = record["cost"] or {}
    named = [
        f"{words} {_amount(name, cost[name])}{' ' + unit if unit else ''}"
        for name, words, unit in COSTS
        if is_number(cost.get(name))
    ]
    return f"Cost: {', '.join(named)}." if named else ""


def _amount(name: str, value: float) -> str:
    return f"{value:.3g}" if name == "rtf" else short(value)
