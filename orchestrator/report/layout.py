"""The layout of a comparison matrix: which cell stands in which row and column, what is written there, and the notes.

A row is a feature configuration, a column a task metric on one test set. Cells that differ only in their seed share a
place. Every rendering (terminal, Markdown, HTML, heat map) draws the same layout.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.report import intervals, references
from orchestrator.report.costs import mean_costs
from orchestrator.report.families import folded
from orchestrator.report.intervals import DIFFERS, Certainty, certainty
from orchestrator.report.ratios import training_ratios
from orchestrator.report.words import ABSENT, BUDGET, GUESSING, HEADINGS, NONE, OF_HUNDRED, describe, is_number, show

COLUMN = ("task", "variant", "corpus", "fold")
"""The coordinates that, with the test set, make a column."""

ROW = (
    *("features", "encoder", "layer", "downsample", "codebook", "codebook_corpus", "codebook_seed"),
    *("dedup", "bpe", "decoder", "recipe", "init"),
)
"""The coordinates that make a row, in the order in which they are shown."""


@dataclass(frozen=True)
class Column:
    """A task metric on one test set. `better` is +1 where higher is better, -1 where lower is; `first`: the first test set."""

    key: tuple[Any, ...]
    test_set: str | None
    metric: str | None
    better: int
    title: str
    decimals: int
    baseline: float | None
    first: bool = True

    @property
    def heading(self) -> str:
        """The metric, its unit and the direction that is better, such as `WER % ↓`."""
        if self.metric is None:
            return ""
        percent = "" if self.metric in OF_HUNDRED else " %"
        return f"{HEADINGS.get(self.metric, self.metric)}{percent} {'↑' if self.better > 0 else '↓'}"

    def text(self, value: float) -> str:
        """A value as shown: percent for fractions, two decimals only where the test set is large enough."""
        return f"{value * (1 if self.metric in OF_HUNDRED else 100):.{self.decimals}f}"

    def exact(self, value: float) -> str:
        """A published value in the unit of the column, with the digits that it has."""
        return f"{round(value * (1 if self.metric in OF_HUNDRED else 100), 6):.6g}"


@dataclass(frozen=True)
class Row:
    """A feature configuration: its coordinates, and whether it hears `speech`, `none`, or is the trivial `baseline`."""

    kind: str
    coordinates: Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """What stands in one place of the matrix.

    Attributes:
        status: ok, failed, missing, stale, or absent where the space has no such cell.
        value: the mean over the finished seeds, in the unit of the records; None unless ok.
        text: what is written there, without the marks.
        marks: † where training stopped by its budget, ‡ where it is no better than guessing, * where it differs
            significantly from its baseline.
        best: the best of its column.
        reference: the published figure, as shown beside it.
        published: its value, where it is one.
        certainty: what resampling says, where that was asked.
    """

    status: str
    value: float | None = None
    text: str = ""
    marks: str = ""
    best: bool = False
    reference: str = ""
    published: float | None = None
    certainty: Certainty | None = None

    @property
    def after(self) -> str:
        """What follows the text: marks, and the published figure."""
        return self.marks + (f" [{self.reference}]" if self.reference else "")


@dataclass(frozen=True)
class Layout:
    """A matrix ready to be drawn: `entries[r][c]` stands in row r and column c.

    Attributes:
        labels: the coordinates that tell rows apart.
        caption: what all cells have in common.
        floors: per column the score of guessing (the better of trivial baseline and `none`), None where unknown.
        cost_heads: headings of the costs that some row has.
        costs: per row the mean cost of a cell, a text for each heading; empty where the row has no finished cell.
        cost_caption: over which cells the costs are means.
        legend: the signs that occur, explained.
        ratios: training cost to convergence of discrete tokens as a share of continuous features'.
        problems: every reason for a failed, missing or stale cell, with the cells and where the log is.
    """

    title: str
    labels: list[str]
    columns: list[Column]
    rows: list[Row]
    entries: list[list[Entry]]
    floors: list[float | None]
    caption: str
    cost_heads: list[str] = field(default_factory=list)
    costs: list[list[str]] = field(default_factory=list)
    cost_caption: str = ""
    legend: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    ratios: list[str] = field(default_factory=list)

    def label(self, row: Row) -> list[str]:
        """The texts that name a row, one for each of `labels`."""
        if row.kind == "baseline":
            return ["baseline", *[""] * (len(self.labels) - 1)]
        return [show(row.coordinates[name]) for name in self.labels]


def lay_out(
    space: str,
    cells: Sequence[Mapping[str, Any]],
    reference: Mapping[str, Any] | None = None,
    question: str = "",
) -> Layout:
    """Arranges the cell records of a space. Rows keep the order of the space; `none` and the baseline come last.

    Args:
        reference: what is said about published figures: source, grade, meaning of the grade, notes.
    """
    every = cells
    cells, tuned = folded(_own_codebooks(cells), (*COLUMN, *ROW))
    cells, by_column = _without_told_by_column(cells)
    columns = _columns(cells)
    rows = _rows(cells)
    places: dict[tuple[str, tuple[Any, ...]], list[Mapping[str, Any]]] = {}
    for cell in cells:
        places.setdefault((_row_key(cell), _column_key(cell)), []).append(cell)
    keys = list(rows)
    grid = [[_entry(places.get((key, column.key), []), column) for column in columns] for key in keys]
    floors = [_floor(column, [row[c] for row in grid], rows.values()) for c, column in enumerate(columns)]
    for c, column in enumerate(columns):
        judged = _judged([line[c] for line in grid], list(rows.values()), column)
        for line, entry in zip(grid, judged, strict=True):
            line[c] = entry
    cost_heads, costs, cost_caption = mean_costs(keys, places)
    everything = list(rows.values())
    if any(column.baseline is not None for column in columns):
        everything.append(Row("baseline", {}))
        grid.append([_baseline_entry(column) for column in columns])
        costs.append([])
    finished = sum(cell["status"] == "ok" for cell in cells)
    layout = Layout(
        title=f"{space}: {finished} of {len(cells)} cells finished",
        labels=_labels(cells),
        columns=columns,
        rows=everything,
        entries=grid,
        floors=floors,
        caption=" · ".join(part for part in (question, _caption(cells), *by_column) if part),
        cost_heads=cost_heads,
        costs=costs,
        cost_caption=cost_caption,
        legend=[*_legend(grid, everything, cells), *tuned, *references.notes(reference, columns, grid)],
        ratios=training_ratios(cells, ROW),
        problems=_problems(every),
    )
    return replace(layout, legend=[*intervals.notes(layout), *layout.legend])


def _own_codebooks(cells: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Where every codebook belongs to its cell's own corpus, its name would only tear rows apart."""
    if all(cell["codebook_corpus"] in (None, cell["corpus"]) for cell in cells):
        return [{**cell, "codebook_corpus": None} for cell in cells]
    return cells


def _without_told_by_column(
    cells: Sequence[Mapping[str, Any]],
) -> tuple[Sequence[Mapping[str, Any]], list[str]]:
    """Takes out the coordinates that a column fixes for all its rows, such as a recipe for each task.

    They would only tear rows apart. Returns the cells without them, and a sentence for the caption about each.
    """
    said = []
    for name in ("decoder", "recipe", "init"):
        columns: dict[tuple[Any, ...], set[Any]] = {}
        for cell in cells:
            columns.setdefault(_column_key(cell), set()).add(cell[name])
        values = dict.fromkeys(next(iter(found)) for found in columns.values())
        if len(values) > 1 and all(len(found) == 1 for found in columns.values()):
            tasks = {v: dict.fromkeys(key[0] for key, found in columns.items() if v in found) for v in values}
            said.append(f"{name} " + ", ".join(f"{show(v)} ({', '.join(names)})" for v, names in tasks.items()))
            cells = [{**cell, name: None} for cell in cells]
    return cells, said


def _column_key(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(cell[name] for name in COLUMN)


def _row_key(cell: Mapping[str, Any]) -> str:
    return json.dumps([cell[name] for name in ROW])


def _rows(cells: Iterable[Mapping[str, Any]]) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for cell in cells:
        kind = "none" if cell["features"] == "none" else "speech"
        rows.setdefault(_row_key(cell), Row(kind, {name: cell[name] for name in ROW}))
    return dict(sorted(rows.items(), key=lambda item: item[1].kind == "none"))


def _columns(cells: Iterable[Mapping[str, Any]]) -> list[Column]:
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for cell in cells:
        groups.setdefault(_column_key(cell), []).append(cell)
    several_corpora = len({corpus for _, _, corpus, _ in groups}) > 1
    columns = []
    for key, members in groups.items():
        task, variant, corpus, fold = key
        metric = next((cell["primary"] for cell in members if cell["primary"]), None)
        results = [result for cell in members if cell["status"] == "ok" for result in cell["results"] or ()]
        tests = list(dict.fromkeys(result["test_set"] for result in results)) or [None]
        for test in tests:
            words = [task, variant, corpus if several_corpora else None, None if fold is None else f"fold {fold}"]
            of_test = [result for result in results if result["test_set"] == test]
            n = max((result["n"] or 0 for result in of_test), default=0)
            columns.append(
                Column(
                    key=key,
                    test_set=test,
                    metric=metric,
                    better=_direction(metric),
                    title=" ".join(str(word) for word in [*words, test if len(tests) > 1 else None] if word),
                    decimals=2 if n >= 1000 else 1,
                    baseline=next((r["baseline"] for r in of_test if is_number(r["baseline"])), None),
                    first=test == tests[0],
                )
            )
    return columns


def _direction(metric: str | None) -> int:
    from tasks.metrics import direction

    return direction(metric) if metric else 1


def _entry(cells: Sequence[Mapping[str, Any]], column: Column) -> Entry:
    """The entry of the cells that share a place: one for each seed."""
    if not cells:
        return Entry("absent", text=ABSENT)
    reference, published = references.text(cells, column)
    done = [
        (result["metrics"][column.metric], cell["stopped"], result)
        for cell in cells
        if cell["status"] == "ok"
        for result in cell["results"] or ()
        if result["test_set"] == column.test_set and is_number(result["metrics"].get(column.metric))
    ]
    if not done:
        statuses = {cell["status"] for cell in cells}
        status = next((s for s in ("failed", "stale", "missing") if s in statuses), "missing")
        return Entry(status, text=status, reference=reference, published=published)
    values = [value for value, _, _ in done]
    mean = statistics.fmean(values)
    text = column.text(mean)
    if len(values) > 1:
        text += f" ±{column.text(statistics.stdev(values))}"
    if len(values) < len(cells):
        text += f" ({len(values)}/{len(cells)})"
    sure = certainty([result for _, _, result in done], column.metric or "")
    marks = BUDGET if any(stopped == "budget" for _, stopped, _ in done) else ""
    marks += DIFFERS if sure and sure.differs else ""
    return Entry("ok", mean, text, marks, reference=reference, published=published, certainty=sure)


def _baseline_entry(column: Column) -> Entry:
    if column.baseline is None:
        return Entry("missing", text=NONE)
    return Entry("ok", column.baseline, column.text(column.baseline))


def _floor(column: Column, entries: Sequence[Entry], rows: Iterable[Row], decoder: str | None = None) -> float | None:
    """What guessing scores: the better of the trivial baseline and `none`, of one decoder or of all."""
    guesses = [
        entry.value
        for entry, row in zip(entries, rows, strict=True)
        if row.kind == "none" and entry.value is not None and decoder in (None, row.coordinates["decoder"])
    ]
    guesses += [column.baseline] if column.baseline is not None else []
    return max(guesses, key=lambda value: column.better * value) if guesses else None


def _judged(entries: Sequence[Entry], rows: Sequence[Row], column: Column) -> list[Entry]:
    """A column's entries, with ‡ where one is no better than guessing, and the best of them marked."""
    decoders = {row.coordinates["decoder"] for row in rows}
    floors = {decoder: _floor(column, entries, rows, decoder) for decoder in decoders}
    speech = [
        column.better * entry.value
        for entry, row in zip(entries, rows, strict=True)
        if row.kind == "speech" and entry.value is not None
    ]
    top, judged = max(speech, default=None), []
    for entry, row in zip(entries, rows, strict=True):
        if entry.value is None or row.kind != "speech":
            judged.append(entry)
            continue
        value, floor = column.better * entry.value, floors[row.coordinates["decoder"]]
        guessing = floor is not None and value <= column.better * floor
        best = not guessing and len(speech) > 1 and value == top
        judged.append(replace(entry, marks=entry.marks + (GUESSING if guessing else ""), best=best))
    return judged


def _varies(cells: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether a coordinate tells cells apart. That `none` has no layer distinguishes nothing."""
    by_kind: dict[Any, set[str]] = {}
    for cell in cells:
        by_kind.setdefault(cell["features"], set()).add(json.dumps(cell[name]))
    applied = set().union(*by_kind.values()) - {"null"}
    return len(applied) > 1 or any(len(values) > 1 for values in by_kind.values())


def _labels(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    return ["features", *(name for name in ROW[1:] if _varies(cells, name))]


def _caption(cells: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for name in ("corpus", *ROW[1:], "seed"):
        if name in ROW and _varies(cells, name):
            continue
        values = dict.fromkeys(show(cell[name]) for cell in cells if cell[name] is not None)
        if len(values) == 1:
            parts.append(f"{name.replace('_', ' ')} {next(iter(values))}")
        elif name == "seed" and len(values) > 1:
            parts.append(f"mean ± standard deviation over {len(values)} seeds")
    return " · ".join(parts)


def _legend(entries: Sequence[Sequence[Entry]], rows: Sequence[Row], cells: Sequence[Mapping[str, Any]]) -> list[str]:
    kinds = {row.kind for row in rows}
    signs = {entry.status for line in entries for entry in line} | {
        m for line in entries for e in line for m in e.marks
    }
    signs |= {BUDGET for cell in cells if cell["stopped"] == "budget"}
    said = (
        ("none" in kinds, "none: the decoder without speech"),
        ("baseline" in kinds, "baseline: the majority label, or an empty answer"),
        (BUDGET in signs, f"{BUDGET} stopped by its budget, before the plateau"),
        (GUESSING in signs, f"{GUESSING} no better than guessing (the better of none and baseline)"),
        ("absent" in signs, f"{ABSENT} not in this space"),
    )
    return [text for there, text in said if there]


def _problems(cells: Iterable[Mapping[str, Any]], named: int = 3) -> list[str]:
    """Each reason once, with the first cells that it concerns."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for cell in cells:
        if cell["status"] != "ok":
            key = (cell["status"], cell["reason"] or "", cell.get("log") or "")
            grouped.setdefault(key, []).append(f"{describe(cell)} ({cell['cell']})")
    lines = []
    for (status, reason, log), names in sorted(grouped.items(), key=lambda item: item[0]):
        more = f" and {len(names) - named} more" if len(names) > named else ""
        why = f": {reason}" if reason else ": not finished yet" if status == "missing" else ""
        lines.append(f"{status} {', '.join(names[:named])}{more}{why}" + (f" (log: {log})" if log else ""))
    return lines
