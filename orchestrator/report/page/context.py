"""What the template of the page is given: words, tables of texts, figures. It computes no scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.report.heatmap import scores
from orchestrator.report.page import ran, spending
from orchestrator.report.page.payload import shortened
from orchestrator.report.page.scales import step
from orchestrator.report.page.table import Table
from orchestrator.report.words import NONE, describe

if TYPE_CHECKING:
    from orchestrator.matrix import Matrix
    from orchestrator.report.layout import Entry, Layout
    from orchestrator.report.places import Place

CALLED = {"ok": "finished", "failed": "failed", "missing": "missing", "stale": "stale"}


def context(matrix: Matrix, lines: Sequence[Sequence[Place]], mistakes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The variables of template.html.

    Args:
        lines: the places of the layout, `[rows][columns]`.
    """
    from orchestrator.report.verdict import verdict

    layout, counts = matrix.layout, matrix.counts()
    said = verdict(matrix)
    titles = {column.title for column in layout.columns}
    return {
        "space": matrix.space,
        "question": matrix.question,
        "headline": said.headline,
        "claims": [(title, *_parted(text)) for title, text in said.sentences if title in titles],
        "remarks": [(title, text) for title, text in said.sentences if title not in titles],
        "counts": [(CALLED[status], n) for status, n in counts.items() if n or status == "ok"],
        "total": sum(counts.values()),
        "finished": counts["ok"],
        "layout": layout,
        "held": layout.caption.removeprefix(matrix.question).removeprefix(" · "),
        "labels": [name.replace("_", " ") for name in layout.labels],
        "rows": _rows(layout),
        "figures": _figures(matrix),
        "costs": _costs(layout),
        "spent": spending.stages(matrix, lines),
        "inference": spending.inference(matrix, lines),
        "equal": spending.equal_compute(matrix),
        "mistakes": [_counts(one) for one in mistakes],
        "problems": problems(matrix.cells),
        "reference": matrix.reference,
        **ran.what(matrix),
    }


def _parted(text: str) -> tuple[str, str]:
    """The first sentence, and the others."""
    first, stop, rest = text.partition(". ")
    return first + stop.strip(), rest


def _rows(layout: Layout) -> list[dict[str, Any]]:
    """Per row its kind, its labels, and of each place the classes, the text and the marks."""
    columns = [
        scores([line[c] for line in layout.entries], column, layout.floors[c])
        for c, column in enumerate(layout.columns)
    ]
    rows = []
    for r, (row, entries) in enumerate(zip(layout.rows, layout.entries, strict=True)):
        labels = layout.label(row)
        places = [(_class(entry, columns[c][r]), entry.text, entry.after) for c, entry in enumerate(entries)]
        name = " · ".join(label for label in labels if label not in ("", NONE))
        rows.append({"kind": row.kind, "labels": labels, "name": name, "places": places})
    return rows


def _class(entry: Entry, score: float) -> str:
    if entry.status != "ok" or entry.value is None:
        return entry.status if entry.status != "ok" else "missing"
    return f"s{step(score)}" + (" best" if entry.best else "")


def _costs(layout: Layout) -> Table | None:
    names = [name.replace("_", " ") for name in layout.labels]
    paid = [(row, line) for row, line in zip(layout.rows, layout.costs, strict=True) if line]
    if not paid:
        return None
    lines = [[*layout.label(row), *line] for row, line in paid]
    return Table(f"Cost of training: {layout.cost_caption}", [*names, *layout.cost_heads], lines, len(names))


def problems(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each reason for cells without a result once, those that failed first, with the cells that it concerns."""
    order = ("failed", "stale", "missing")
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for cell in cells:
        if cell["status"] != "ok":
            key = (cell["status"], cell["reason"] or "not finished yet", cell.get("log") or "")
            grouped.setdefault(key, []).append(f"{describe(cell)} ({cell['cell']})")
    return [
        {"status": status, "reason": shortened(reason), "log": log, "cells": names}
        for (status, reason, log), names in sorted(grouped.items(), key=lambda item: order.index(item[0][0]))
    ]


def _figures(matrix: Matrix) -> list[dict[str, str]]:
    """Every figure for which there is material, as SVG; the heat map is on the page already, as its matrix.

    A figure's title is what the docstring of its module begins with.
    """
    from importlib import import_module

    from orchestrator.report import FIGURES, draw, drawable
    from orchestrator.report.vector import svg

    found = []
    for name in drawable(matrix):
        if name == "heatmap":
            continue
        module = import_module(FIGURES[name])
        title = (module.__doc__ or name.replace("_", " ")).partition(":")[0]
        text = module.describe(matrix) if hasattr(module, "describe") else ""
        found.append({"name": name, "title": title, "text": text, "svg": svg(draw(name, matrix), themed=True)})
    return found


def _counts(one: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of a column's errors that need no script."""
    table = None
    if one["kind"] == "sequence":
        names = ("substitutions", "deletions", "insertions")
        lines = []
        for cell in one["cells"]:
            counts = cell["counts"]
            total = counts["reference"]
            errors = [counts[name] for name in names]
            share = [f" ({value / total:.1%})" if total else "" for value in errors]
            texts = [f"{value:,}{said}" for value, said in zip(errors, share, strict=True)]
            lines.append([cell["label"], f"{counts['hits']:,}", *texts, f"{total:,}"])
        unit = "phonemes" if one["metric"] == "per" else "words"
        heads = ["features", "right", *names, f"{unit} in all"]
        table = Table(f"Kinds of errors in {one['title']}: {unit} of the references", heads, lines)
    shown, wrong, total = len(one["utterances"]), one.get("wrong"), one.get("total")
    told = "no mistakes" if not shown else f"{shown} {'utterance' if shown == 1 else 'utterances'}"
    if shown and wrong is not None:
        told = f"{wrong} of {total} utterances wrong for some" + (f", the worst {shown} here" if shown < wrong else "")
    unread = [f"{cell['label']}: {cell['why']}" for cell in one.get("unread") or ()]
    return {"title": one["title"], "told": told, "table": table, "unread": unread}
