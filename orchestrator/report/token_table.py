"""The table of speech tokens: what each configuration of features makes of each task's speech, without any decoder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.matrix import COORDINATES
from orchestrator.report.words import NONE, show

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

OF_DECODERS = ("decoder", "recipe", "init", "seed")
"""Coordinates of a cell that change nothing about its speech: cells that differ in these alone share a row."""
THRESHOLDS = (1, 5, 10, 100)
SPECTRA = ("raw", "normalised")

Row = dict[str, Any]
Heading = tuple[str, str, str]
"""A column's key in a row, its heading in the terminal, and how it is written."""

USE: tuple[Heading, ...] = (
    ("vocabulary", "V", ",d"),
    ("utilisation", "used %", "%"),
    ("entropy", "H bit", ".2f"),
    ("normalised_entropy", "H / log V", ".3f"),
    ("effective_types", "2^H", ",.0f"),
    ("rarest_fifth_share", "rarest fifth %", "%"),
)
RATES: tuple[Heading, ...] = (
    ("positions_per_second", "read /s", ".1f"),
    ("nominal_bits_per_second", "nominal bit/s", ",.0f"),
    ("bits_per_second", "bit/s", ",.0f"),
    ("entropy_rate", "entropy bit/s", ",.0f"),
    ("mean_run_length", "mean run", ".2f"),
    ("compression_dedup", "÷ dedup", ".2f"),
    ("compression_bpe", "÷ BPE", ".2f"),
    ("compression_both", "÷ both", ".2f"),
    ("positions_per_utterance_mean", "read mean", ",.1f"),
    ("positions_per_utterance_p95", "read p95", ",.0f"),
)
SEEN: tuple[Heading, ...] = tuple((f"types_seen_less_than_{n}", f"types <{n}× %", "%") for n in THRESHOLDS)
READ: tuple[Heading, ...] = tuple((f"tests_seen_less_than_{n}", f"tests <{n}× %", "%") for n in THRESHOLDS)


def _of_spectrum(kind: str) -> tuple[Heading, ...]:
    return (
        (f"{kind}_effective_rank", "eff. rank", ".1f"),
        (f"{kind}_participation_ratio", "part. ratio", ".1f"),
        *((f"{kind}_directions_{p}", f"for {p} %", ",d") for p in (90, 95, 99)),
        (f"{kind}_normalised_entropy", "H / log D", ".3f"),
        (f"{kind}_weakest_fifth_share", "weakest fifth %", "%"),
    )


SPECTRUM: tuple[Heading, ...] = (
    ("dimension", "dim. D", ",d"),
    ("spectrum_frames", "frames", ",d"),
    ("variance_kept", "kept %", "%"),
)
PARTS: tuple[tuple[str, str, tuple[Heading, ...]], ...] = (
    (
        "Use of the tokens",
        "V: types, used or not; H: entropy; 2^H: as many equally common types; rarest fifth: of the used types, its share "
        "of all tokens",
        USE,
    ),
    (
        "Rates and lengths",
        "read: positions that the decoder reads, a second, and in an utterance (mean, 95th percentile); nominal: log2 k for "
        "every frame, or 16 bit for every value; bit/s: log2 V for every token; entropy: H for every token; mean run: frames "
        "that a unit lasts; ÷: how many times shorter",
        RATES,
    ),
    ("Types seen fewer than n times in training", "share of V", SEEN),
    ("Tokens of the test sets seen fewer than n times in training", "share of their occurrences", READ),
    (
        "Spectrum of variance, frames as stored",
        "of training frames, or of the centroids that stand for them (kept: the variance that units tell); for n %: how many "
        "of the D directions hold it; weakest fifth: of the directions, its share of the variance",
        (*SPECTRUM, *_of_spectrum("raw")),
    ),
    ("Spectrum of variance, each dimension normalised", "as the adapter reads it", _of_spectrum("normalised")),
)
"""Tables of the terminal: title, note, columns. Rows to which none of the columns apply are left out."""


def rows(records: Iterable[Mapping[str, Any]]) -> list[Row]:
    """A row for each configuration of tokens (or continuous features), task and corpus, in the order of the records.

    Args:
        records: of cells; those without `analysis` have no row.

    Returns:
        Flat rows that all have the same keys, None where a key does not apply: the coordinates of the cell that shape its
        speech, `kind`, and the numbers of `analysis.json` under the keys of `PARTS`. Shares are fractions of one.
    """
    found: dict[str, Row] = {}
    for record in records:
        if analysis := record.get("analysis"):
            coordinates = speech_coordinates(record)
            found.setdefault(json.dumps(coordinates), coordinates | _numbers(analysis))
    names = dict.fromkeys(name for row in found.values() for name in row)
    return [{name: row.get(name) for name in names} for row in found.values()]


def speech_coordinates(record: Mapping[str, Any]) -> Row:
    """The coordinates of a cell that shape its speech."""
    return {name: record.get(name) for name in COORDINATES if name not in OF_DECODERS}


def varying(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The coordinates that tell rows apart, features always among them. That one arm lacks a coordinate tells nothing.

    Nor does the corpus of the codebook where each codebook is of its row's own corpus.
    """
    names = list(speech_coordinates(rows[0])) if rows else []
    if all(row["codebook_corpus"] in (None, row["corpus"]) for row in rows):
        names = [name for name in names if name != "codebook_corpus"]
    return [name for name in names if name == "features" or _varies(rows, name)]


def to_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV, one line each, empty where a column does not apply."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_json(rows: Sequence[Row]) -> str:
    """Rows as a JSON list."""
    return json.dumps(list(rows), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def terminal(rows: Sequence[Row], width: int = 100) -> Group:
    """The rows for a terminal, a table for each theme; columns that don't fit into `width` go into a further table."""
    from rich.console import Group
    from rich.text import Text

    if not rows:
        return Group(Text("no cell has an analysis of its tokens yet: `run` makes it before it trains anything"))
    labels = varying(rows)
    told = [(name, _only(rows, name)) for name in speech_coordinates(rows[0]) if name not in labels]
    caption = " · ".join(f"{name.replace('_', ' ')} {show(value)}" for name, value in told if value is not None)
    parts: list[Any] = [Text(caption, style="dim"), Text()]
    for title, note, headings in PARTS:
        shown = [row for row in rows if any(row.get(key) is not None for key, _, _ in headings)]
        if shown:
            parts += [Text(title, style="bold"), Text(note, style="dim"), Text()]
            for table in _tables(shown, varying(shown), headings, width):
                parts += [table, Text()]
    return Group(*parts)


def _numbers(analysis: Mapping[str, Any]) -> Row:
    row: Row = {name: analysis.get(name) for name in ("kind", "utterances", "without_frames", "seconds", "frames")}
    row |= {name: analysis.get(name) for name in ("frame_rate", "positions", "units", "tokens")}
    used = analysis.get("distribution") or {}
    row |= {name: used.get(name) for name in (*(key for key, _, _ in USE), "used")}
    compression = analysis.get("compression") or {}
    lengths = analysis["positions_per_utterance"]
    row |= {f"compression_{name}": compression.get(name) for name in ("dedup", "bpe", "both")}
    row |= {f"positions_per_utterance_{name}": lengths[name] for name in ("mean", "p95", "longest")}
    row |= {name: analysis.get(name) for name, _, _ in RATES if name not in row}
    row["bits_per_second_concatenated"] = analysis.get("bits_per_second_concatenated")
    seen = {one["fewer_than"]: one for one in analysis.get("seen_less") or ()}
    row |= {f"types_seen_less_than_{n}": seen[n]["types"] if seen else None for n in THRESHOLDS}
    row |= {f"tests_seen_less_than_{n}": seen[n]["occurrences"]["all"] if seen else None for n in THRESHOLDS}
    for name in sorted({name for one in seen.values() for name in one["occurrences"]} - {"all"}):
        row |= {f"{name}_seen_less_than_{n}": seen[n]["occurrences"][name] for n in THRESHOLDS}
    spectrum = analysis["spectrum"]
    row |= {"dimension": spectrum["raw"]["dimension"], "spectrum_frames": spectrum["frames"]}
    row["variance_kept"] = spectrum["variance_kept"]
    for kind in SPECTRA:
        one = spectrum[kind]
        flat = one | {f"directions_{percent}": count for percent, count in one["directions"].items()}
        row |= {key: flat[key.removeprefix(f"{kind}_")] for key, _, _ in _of_spectrum(kind)}
    return row


def _varies(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether a coordinate tells rows of the same kind apart, or has two values across kinds."""
    by_kind: dict[Any, set[str]] = {}
    for row in rows:
        by_kind.setdefault(row["features"], set()).add(json.dumps(row[name]))
    given = set().union(*by_kind.values()) - {"null"}
    return len(given) > 1 or any(len(values) > 1 for values in by_kind.values())


def _only(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    """The value that all rows have to which a coordinate applies; None where there are several."""
    values = [row[name] for row in rows if row[name] is not None]
    return values[0] if values and all(value == values[0] for value in values) else None


def _tables(rows: Sequence[Row], labels: list[str], headings: Sequence[Heading], width: int) -> list[Table]:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from orchestrator.report.tables import wrap

    texts = [[_text(row.get(key), form) for key, _, form in headings] for row in rows]
    labels, lines = _merged(labels, rows, texts)
    heads = [wrap(heading, 8) for _, heading, _ in headings]
    columns = [[label, *(name[i] for name in lines)] for i, label in enumerate(labels)]
    room = width - sum(max(map(len, column)) + 2 for column in columns)
    needs = [max(map(len, [*head, *(line[c] for line in lines.values())])) + 2 for c, head in enumerate(heads)]
    blocks: list[list[int]] = [[]]
    for c in range(len(heads)):
        if blocks[-1] and sum(needs[b] for b in [*blocks[-1], c]) > room:
            blocks.append([])
        blocks[-1].append(c)
    tables = []
    for block in blocks:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for label in labels:
            table.add_column(Text(label.replace("_", " ")), vertical="bottom", overflow="fold")
        for c in block:
            table.add_column(Text("\n".join(heads[c])), justify="right", vertical="bottom", no_wrap=True)
        for name, line in lines.items():
            table.add_row(*map(Text, name), *(Text(line[c]) for c in block))
        tables.append(table)
    return tables


def _merged(
    labels: list[str], rows: Sequence[Row], texts: Sequence[list[str]]
) -> tuple[list[str], dict[tuple[str, ...], list[str]]]:
    """Labels and lines by name, without the labels that change no number here (a BPE does not move the spectrum)."""

    def named(kept: list[str]) -> dict[tuple[str, ...], list[str]] | None:
        lines: dict[tuple[str, ...], list[str]] = {}
        for row, line in zip(rows, texts, strict=True):
            if lines.setdefault(tuple(show(row[label]) for label in kept), line) != line:
                return None
        return lines

    for label in reversed(labels):
        fewer = [kept for kept in labels if kept != label]
        if label not in ("task", "features") and named(fewer) is not None:
            labels = fewer
    return labels, named(labels) or {}


def _text(value: Any, form: str) -> str:
    if value is None:
        return NONE
    return f"{100 * value:.1f}" if form == "%" else format(value, form)
