"""How sure a place of the matrix is: its interval, its distance from the baseline, and both as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.report.words import NONE

if TYPE_CHECKING:
    from orchestrator.report.layout import Column, Layout

ALPHA = 0.05
DIFFERS = "*"
"""Sign in a table: significantly other than its baseline."""
HEADS = ("score", "95 % interval", "difference", "95 % interval", "p (Holm)")


@dataclass(frozen=True)
class Certainty:
    """What resampling says about a metric in one place, in the unit of the records.

    Attributes:
        interval: 95 %, of the score (of the mean over seeds).
        drawn: what was resampled: `30 speakers`.
        difference: from the baseline, with its interval and its p-value corrected by Holm; None without a comparison.
        baseline: such as `features=continuous`.
        reason: why there is no comparison; empty for a baseline itself.
    """

    interval: tuple[float, float] | None
    drawn: str
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    p: float | None = None
    baseline: str = ""
    reason: str = ""

    @property
    def differs(self) -> bool:
        """Whether the difference from the baseline is significant."""
        return self.p is not None and self.p < ALPHA


def certainty(results: Sequence[Mapping[str, Any]], metric: str) -> Certainty | None:
    """Of the results that share a place, one for each seed; None where nothing was resampled yet."""
    if not results or "interval" not in results[0]:
        return None
    first = results[0]
    about = first if len(results) == 1 else first["seeds"]
    if about is None:  # a launch went on between two looks: the next matrix has it
        return None
    count = first["groups"]
    drawn = f"{count} {first['resampled']}s" if about["interval"] else ""
    interval = tuple(about["interval"][metric]) if about["interval"] else None
    if not (found := about["comparison"]):
        return Certainty(interval, drawn, reason=about["uncompared"] or "")
    difference = (found["difference"][metric], tuple(found["interval"][metric]), found["p_holm"][metric])
    return Certainty(interval, drawn, *difference, baseline=found["baseline"])


def notes(layout: Layout) -> list[str]:
    """The sign of a significant difference, explained, and what was resampled, where anything was."""
    known = [e.certainty for line in layout.entries for e in line if e.certainty is not None]
    said = []
    if any(one.differs for one in known):
        names = ", ".join(dict.fromkeys(one.baseline for one in known if one.baseline))
        said.append(f"{DIFFERS} differs from its baseline ({names}) at {ALPHA:.0%}, corrected by Holm in each column")
    return said


def table(layout: Layout) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """A line for each place that was resampled, those of a column together.

    Returns:
        Names of the labels, the labels of each line, and the texts of `HEADS` of each line.
    """
    labels, lines = [], []
    for c, column in enumerate(layout.columns):
        for row, entries in zip(layout.rows, layout.entries, strict=True):
            if (found := entries[c].certainty) is not None:
                labels.append([f"{column.title}, {column.heading}", *layout.label(row)])
                lines.append([entries[c].text + entries[c].marks, *_texts(found, column)])
    return ["test set", *layout.labels], labels, lines


def reasons(layout: Layout) -> list[str]:
    """What was resampled in each column, and why places were not compared, each reason once."""
    drawn: dict[str, list[str]] = {}
    why: dict[str, int] = {}
    for line in layout.entries:
        for column, entry in zip(layout.columns, line, strict=True):
            if entry.certainty is not None and entry.certainty.drawn:
                drawn.setdefault(entry.certainty.drawn, []).append(column.title)
            if entry.certainty is not None and entry.certainty.reason:
                why[entry.certainty.reason] = why.get(entry.certainty.reason, 0) + 1
    said = [f"{what} resampled: {', '.join(dict.fromkeys(titles))}" for what, titles in drawn.items()]
    return said + [f"not compared ({count}): {reason}" for reason, count in why.items()]


def _texts(found: Certainty, column: Column) -> list[str]:
    texts = [_range(found.interval, column)]
    if found.difference is None:
        return [*texts, NONE, NONE, NONE]
    difference = column.text(found.difference)
    signed = difference if difference.startswith("-") else f"+{difference}"
    p = "<1e-300" if found.p is not None and found.p < 1e-300 else f"{found.p:.2g}"
    return [*texts, signed, _range(found.difference_interval, column), p]


def _range(interval: tuple[float, float] | None, column: Column) -> str:
    return NONE if interval is None else f"[{column.text(interval[0])}, {column.text(interval[1])}]"
