"""The matrix as LaTeX: a table with booktabs' rules, ready to be put into a paper."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby

from orchestrator.report.layout import Column, Entry, Layout, Row
from orchestrator.report.words import ABSENT, BUDGET, GUESSING, NONE

LONG = 45
"""Rows beyond which a table breaks over pages."""

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}
"""What LaTeX would not print as it is."""

SIGNS = {
    **{BUDGET: r"\dag{}", GUESSING: r"\ddag{}", ABSENT: r"$\cdot$", NONE: "--"},
    **{"±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "÷": r"$\div$"},
}
"""The signs of the table in LaTeX's own words, so that any font will do."""


def latex(layout: Layout, intervals: bool = False) -> str:
    """The comparison table with its notes: best bold, marks raised, columns of one task under one head.

    Args:
        intervals: whether 95 % intervals stand beside the scores that have one.
    """
    heads = _heads(layout)
    body = _body(layout, intervals)
    caption = _text(". ".join(part for part in (layout.title, layout.caption) if part))
    label = re.sub(r"[^a-z0-9]+", "-", layout.title.rpartition(": ")[0].lower()).strip("-") or "matrix"
    columns = "l" * len(layout.labels) + "r" * len(layout.columns)
    notes = [rf"\par {_text(note)}" for note in [*layout.legend, *layout.problems]]
    small = [r"{\footnotesize\raggedright", *notes, r"\par}"] if notes else []
    if len(body) <= LONG:
        lines = [
            r"% Needs \usepackage{booktabs} and, for a quotation mark, \usepackage[T1]{fontenc}.",
            *(r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", rf"\label{{tab:{label}}}"),
            *(rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *heads, r"\midrule", *body, r"\bottomrule"),
            *(r"\end{tabular}", *small, r"\end{table}"),
        ]
    else:
        lines = [
            r"% Needs \usepackage{booktabs,longtable} and, for a quotation mark, \usepackage[T1]{fontenc}.",
            *(rf"\begin{{longtable}}{{{columns}}}", rf"\caption{{{caption}}}\label{{tab:{label}}}\\"),
            *(r"\toprule", *heads, r"\midrule", r"\endfirsthead"),
            *(r"\toprule", *heads, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"),
            *(*body, r"\end{longtable}", *small),
        ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """A text as LaTeX prints it: on one line, control characters as blanks."""
    line = " ".join("".join(" " if unicodedata.category(sign) == "Cc" else sign for sign in text).split())
    # Two hyphens would become a dash.
    return re.sub("-(?=-)", "-{}", "".join(SPECIAL.get(sign, sign) for sign in line))


def _text(text: str) -> str:
    return "".join(SIGNS.get(sign, sign) for sign in escape(text))


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _heads(layout: Layout) -> list[str]:
    """The head: a task over its test sets, the test sets where a task has several, and the metrics."""
    groups = [list(columns) for _, columns in groupby(layout.columns, key=lambda column: column.key)]
    blank = [""] * len(layout.labels)
    first = len(layout.labels) + 1
    names, rules, tests = [], [], []
    for columns in groups:
        title, last = _task(columns), first + len(columns) - 1
        names.append(rf"\multicolumn{{{len(columns)}}}{{c}}{{{title}}}" if len(columns) > 1 else title)
        rules += [rf"\cmidrule(lr){{{first}-{last}}}"] if len(columns) > 1 else []
        tests += [_text(column.test_set or "") if len(columns) > 1 else "" for column in columns]
        first = last + 1
    labels = [_text(name.replace("_", " ")) for name in layout.labels]
    lines = [_row([*blank, *names])]
    if any(tests):
        lines += ["".join(rules), _row([*blank, *tests])]
    return [*lines, _row([*labels, *(_text(column.heading) for column in layout.columns)])]


def _task(columns: Sequence[Column]) -> str:
    """The title of columns that differ in their test set alone, without it."""
    title = columns[0].title
    return _text(title.removesuffix(f" {columns[0].test_set}") if len(columns) > 1 else title)


def _body(layout: Layout, intervals: bool) -> list[str]:
    """A line for each row; a rule where configurations end that hear speech."""
    lines = []
    before: Row | None = None
    for row, entries in zip(layout.rows, layout.entries, strict=True):
        rule = r"\midrule " if before is not None and (before.kind == "speech") != (row.kind == "speech") else ""
        scores = [_entry(entry, column, intervals) for column, entry in zip(layout.columns, entries, strict=True)]
        lines.append(rule + _row([*map(_text, layout.label(row)), *scores]))
        before = row
    return lines


def _entry(entry: Entry, column: Column, intervals: bool) -> str:
    text = _text(entry.text)
    score = rf"\textbf{{{text}}}" if entry.best else text
    marks = rf"\textsuperscript{{{_text(entry.marks)}}}" if entry.marks else ""
    sure = entry.certainty.interval if intervals and entry.certainty is not None else None
    between = rf" {{\scriptsize({column.text(sure[0])}--{column.text(sure[1])})}}" if sure else ""
    published = f" {_text(f'[{entry.reference}]')}" if entry.reference else ""
    return score + marks + between + published
