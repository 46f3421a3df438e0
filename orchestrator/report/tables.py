"""The layout of a matrix as text: for the terminal, as Markdown, and as a self-contained HTML fragment."""

from __future__ import annotations

import textwrap
from html import escape
from typing import TYPE_CHECKING

from orchestrator.report import intervals
from orchestrator.report.layout import Entry, Layout, Row

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

STYLE = {"failed": "red", "missing": "dim", "stale": "yellow", "absent": "dim"}
GAP = 2
"""Blanks between two columns in the terminal."""

CSS = """
.tokengrid table { border-collapse: collapse; margin: .5em 0; font: 14px system-ui, sans-serif; }
.tokengrid caption { text-align: left; padding: .3em 0; color: #555; }
.tokengrid th, .tokengrid td { padding: .25em .7em; text-align: right; border-bottom: 1px solid #ddd; }
.tokengrid thead th { border-bottom: 2px solid #555; vertical-align: bottom; }
.tokengrid .name { text-align: left; font-weight: normal; }
.tokengrid .best { font-weight: bold; }
.tokengrid .failed { color: #b00020; }
.tokengrid .stale { color: #8a6d00; }
.tokengrid .missing, .tokengrid .absent, .tokengrid .guess { color: #777; }
.tokengrid ul { font: 13px system-ui, sans-serif; color: #333; }
"""


SURE = "Intervals and differences"


def terminal(layout: Layout, width: int, with_intervals: bool = False) -> Group:
    """The matrix and its costs for a terminal of `width` characters. Columns that don't fit go into a further table.

    Args:
        with_intervals: whether a table of all intervals and differences from the baseline follows.
    """
    from rich.console import Group
    from rich.text import Text

    labels = [layout.label(row) for row in layout.rows]
    heads = [[*wrap(column.title), column.heading] for column in layout.columns]
    texts = [[Text(e.text + e.after, style=_style(e, row)) for e in line] for line, row in _lines(layout)]
    parts: list[object] = [Text(layout.title, style="bold"), Text(layout.caption, style="dim"), Text()]
    for table in _tables(layout.labels, labels, heads, texts, width):
        parts += [table, Text()]
    parts += [Text(note, style="dim") for note in layout.legend]
    parts += [Text(problem, style=STYLE.get(problem.split(" ", 1)[0], "")) for problem in layout.problems]
    if with_intervals:
        names, named, lines = intervals.table(layout)
        parts += [Text(), Text(SURE, style="bold"), Text()]
        heads = [wrap(heading) for heading in intervals.HEADS]
        parts += _tables(names, named, heads, [[Text(text) for text in line] for line in lines], width) if lines else []
        parts += [Text(line, style="dim") for line in intervals.reasons(layout)]
    paid = [r for r, line in enumerate(layout.costs) if line]
    if paid:
        heads = [wrap(heading, 8) for heading in layout.cost_heads]
        parts += [Text(), Text("Cost", style="bold"), Text(layout.cost_caption, style="dim"), Text()]
        costs = [[Text(text) for text in layout.costs[r]] for r in paid]
        parts += _tables(layout.labels, [labels[r] for r in paid], heads, costs, width)
        parts += [Text(line, style="dim") for line in layout.ratios]
    return Group(*parts)


def _tables(
    labelled: list[str], labels: list[list[str]], heads: list[list[str]], texts: list[list[Text]], width: int
) -> list[Table]:
    """One rich table, or several of as many columns as fit into the width, each with the labels of its rows."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    names = [wrap(name.replace("_", " ")) for name in labelled]
    name_widths = [max(map(len, [*names[i], *(label[i] for label in labels)])) for i in range(len(names))]
    widths = [max(map(len, [*head, *(line[c].plain for line in texts)])) for c, head in enumerate(heads)]
    room = width - sum(name_widths) - GAP * len(name_widths)
    blocks: list[list[int]] = [[]]
    for c in range(len(heads)):
        if blocks[-1] and sum(widths[b] + GAP for b in [*blocks[-1], c]) > room:
            blocks.append([])
        blocks[-1].append(c)
    tables = []
    for block in blocks:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
        for name in names:
            table.add_column(Text("\n".join(name)), vertical="top", overflow="fold")
        for c in block:
            table.add_column(Text("\n".join(heads[c])), justify="right", overflow="fold", min_width=widths[c])
        for r, label in enumerate(labels):
            table.add_row(*(Text(text) for text in label), *(texts[r][c] for c in block))
        for column in table.columns:
            column.header_style = "bold"
        tables.append(table)
    return tables


def markdown(layout: Layout) -> str:
    """The matrix and its costs as Markdown, the best of each column bold."""
    labels = [layout.label(row) for row in layout.rows]
    names = [name.replace("_", " ") for name in layout.labels]
    heads = [f"{column.title}, {column.heading}" for column in layout.columns]
    lines = [[_md(e) for e in line] for line in layout.entries]
    parts = [f"### {_plain(layout.title)}", _plain(layout.caption), _md_table(names, heads, labels, lines)]
    parts.append("\n".join(f"- {_plain(note)}" for note in [*layout.legend, *layout.problems]))
    sure, named, sure_lines = intervals.table(layout)
    if sure_lines:
        said = "\n".join(f"- {_plain(line)}" for line in intervals.reasons(layout))
        shown = [list(map(_plain, line)) for line in sure_lines]
        parts += [f"#### {SURE}", _md_table(sure, list(intervals.HEADS), named, shown), said]
    paid = [r for r, line in enumerate(layout.costs) if line]
    if paid:
        costs = _md_table(names, layout.cost_heads, [labels[r] for r in paid], [layout.costs[r] for r in paid])
        ratios = "\n".join(f"- {_plain(line)}" for line in layout.ratios)
        parts += ["#### Cost", _plain(layout.cost_caption), costs, ratios]
    return "\n\n".join(part for part in parts if part) + "\n"


def html(layout: Layout) -> str:
    """The matrix and its costs as an HTML fragment with its own style, no script and nothing to load."""
    labels = [layout.label(row) for row in layout.rows]
    names = [name.replace("_", " ") for name in layout.labels]
    heads = [f"{escape(column.title)}<br>{escape(column.heading)}" for column in layout.columns]
    cells = [[(_class(e, row), e.text + e.after) for e in line] for line, row in _lines(layout)]
    notes = "".join(f"<li>{escape(note)}</li>" for note in [*layout.legend, *layout.problems])
    parts = [
        f'<section class="tokengrid"><style>{CSS}</style><h2>{escape(layout.title)}</h2>',
        _html_table(layout.caption, names, heads, labels, cells),
        f"<ul>{notes}</ul>" if notes else "",
    ]
    sure, named, lines = intervals.table(layout)
    if lines:
        shown = [[("", text) for text in line] for line in lines]
        said = "".join(f"<li>{escape(line)}</li>" for line in intervals.reasons(layout))
        parts += [f"<h3>{SURE}</h3>", _html_table("", sure, list(intervals.HEADS), named, shown), f"<ul>{said}</ul>"]
    paid = [r for r, line in enumerate(layout.costs) if line]
    if paid:
        costs = [[("", text) for text in layout.costs[r]] for r in paid]
        table = _html_table(layout.cost_caption, names, layout.cost_heads, [labels[r] for r in paid], costs)
        ratios = "".join(f"<li>{escape(line)}</li>" for line in layout.ratios)
        parts += ["<h3>Cost</h3>", table, f"<ul>{ratios}</ul>" if ratios else ""]
    return "\n".join([*parts, "</section>\n"])


def _lines(layout: Layout) -> list[tuple[list[Entry], Row]]:
    return list(zip(layout.entries, layout.rows, strict=True))


def _style(entry: Entry, row: Row) -> str:
    return "bold green" if entry.best else STYLE.get(entry.status, "" if row.kind == "speech" else "dim")


def _class(entry: Entry, row: Row) -> str:
    return "best" if entry.best else entry.status if entry.status != "ok" else "" if row.kind == "speech" else "guess"


def wrap(text: str, width: int = 11) -> list[str]:
    """A heading in short lines; words are never broken."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    for sign in "\\|`*_<[":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def _md(entry: Entry) -> str:
    after = entry.after.replace(intervals.DIFFERS, f"\\{intervals.DIFFERS}")
    return f"**{entry.text}**{after}" if entry.best else entry.text + after


def _md_table(names: list[str], heads: list[str], labels: list[list[str]], lines: list[list[str]]) -> str:
    rows = [[*map(_plain, names), *map(_plain, heads)], [*[":--"] * len(names), *["--:"] * len(heads)]]
    rows += [[*map(_plain, label), *line] for label, line in zip(labels, lines, strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _html_table(
    caption: str, names: list[str], heads: list[str], labels: list[list[str]], cells: list[list[tuple[str, str]]]
) -> str:
    head = "".join(f'<th class="name">{escape(n)}</th>' for n in names) + "".join(f"<th>{h}</th>" for h in heads)
    body = "".join(
        "<tr>"
        + "".join(f'<th class="name">{escape(text)}</th>' for text in label)
        + "".join(f'<td class="{kind}">{escape(text)}</td>' for kind, text in line)
        + "</tr>\n"
        for label, line in zip(labels, cells, strict=True)
    )
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
