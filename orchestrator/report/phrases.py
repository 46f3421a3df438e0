"""Phrases: how scores, differences, shares and lists are said in a sentence."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence

from orchestrator.report.contest import UNKNOWN, Lead
from orchestrator.report.layout import Column
from orchestrator.report.places import Place
from orchestrator.report.words import HEADINGS, OF_HUNDRED

METRICS = {
    "wer": "word error rate",
    "cer": "character error rate",
    "per": "phoneme error rate",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
}
"""Metrics in words; others go by their short names."""

SIGNS = re.compile(r"([\\`*_<\[\]|])")
"""What Markdown would read as its own."""


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return SIGNS.sub(r"\\\1", " ".join(text.split()))


def upper(text: str) -> str:
    """With a capital at the beginning, the rest as it is."""
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """With a capital at the beginning and a full stop at the end."""
    return upper(text) + ("" if text.endswith(".") else ".")


def listed(texts: Sequence[str], word: str = "and") -> str:
    """`a, b and c`."""
    return f"{', '.join(texts[:-1])} {word} {texts[-1]}" if len(texts) > 1 else "".join(texts)


def count(number: int, noun: str) -> str:
    """`1 cell`, `30 cells`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def unit(column: Column) -> str:
    """What follows a score: ` %`, or the name of a metric that has no unit."""
    return f" {HEADINGS.get(column.metric or '', column.metric)}" if column.metric in OF_HUNDRED else " %"


def score(column: Column, value: float) -> str:
    """`14.0 %`, `57.4 BLEU`: as it stands in the table, with its unit."""
    return column.text(value) + unit(column)


def named_score(column: Column, value: float) -> str:
    """`14.0 % word error rate`: the same with the name of the metric."""
    metric = column.metric or ""
    return score(column, value) + ("" if metric in OF_HUNDRED else f" {METRICS.get(metric, metric)}")


def points(column: Column, gap: float) -> str:
    """A difference of two scores: `15.5 percentage points`."""
    text = column.text(abs(gap))
    word = f"{unit(column).strip()} points" if column.metric in OF_HUNDRED else "percentage points"
    return f"less than {10**-column.decimals:g} {word}" if gap and float(text) == 0 else f"{text} {word}"


def about(column: Column, place: Place) -> str:
    """What is known beside a score: ` on average over 3 seeds (standard deviation 0.5; 95 % interval 11.2 to 17.0)`."""
    values = [result["metrics"][column.metric] for result in place.results(column.test_set)]
    asked = f" of {len(place.cells)}" if len(values) < len(place.cells) else ""
    known = [f"standard deviation {column.text(statistics.stdev(values))}"] if len(values) > 1 else []
    sure = place.entry.certainty
    if sure is not None and sure.interval is not None:
        known.append("95 % interval {} to {}".format(*map(column.text, sure.interval)))
    text = f" on average over {len(values)}{asked} seeds" if len(place.cells) > 1 else ""
    return text + (f" ({'; '.join(known)})" if known else "")


def certain(column: Column, lead: Lead) -> str:
    """How sure a lead is: its interval, and whether chance explains it."""
    if lead.interval is None or lead.p is None:
        return "" if lead.reason == UNKNOWN else f"; {lead.reason}"
    low, high = map(column.text, lead.interval)
    p = _p(lead.p)
    between = f" (95 % interval {low} to {high})"
    if lead.sure:
        return f"{between}, more than chance explains ({p})"
    if lead.interval[0] > 0 or lead.interval[1] < 0:
        return f"{between}, but among so many comparisons that may be chance ({p})"
    return f"{between}, but the test set can't tell this from chance ({p})"


def _p(value: float) -> str:
    """With as many digits as say something; at the border as many as show on which side it is."""
    if value < 0.001:
        return "p < 0.001"
    return f"p = {value:.3f}" if value < 0.01 or 0.045 <= value < 0.055 else f"p = {value:.2f}"


def share(ratio: float) -> str:
    """`0.27 %`: a share with two digits."""
    return f"{ratio * 100:.2g} %" if ratio < 0.995 else f"{ratio * 100:,.0f} %"


def times(ratio: float, of: str = "", as_much: str = "") -> str:
    """`2.1 times the FLOPs` and `27 % of the FLOPs`; or, as an adjective, `2.1 times as long` and `27 % as long`."""
    if ratio < 0.995:
        return f"{share(ratio)} {as_much}" if as_much else f"{share(ratio)} of {of}"
    return f"{ratio:,.{0 if ratio >= 9.95 else 1}f} times {as_much or of}"
