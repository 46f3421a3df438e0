"""Tables of what was spent: stages whole and shared out, inference, quality at equal compute."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.report.page.table import Table
from orchestrator.report.places import Place
from orchestrator.report.words import NONE, is_number, short

if TYPE_CHECKING:
    from orchestrator.matrix import Matrix
    from orchestrator.report.compute import Reached

Lines = Sequence[Sequence[Place]]
"""The places of a layout, `[rows][columns]`."""

MEGABYTE = 1e6
AHEAD = 12
"""How many configurations a table at equal compute has."""
LONGEST = 60
"""How many lines a table of stages has, the dearest first."""


def stages(matrix: Matrix, lines: Lines) -> list[Table]:
    """Two tables: every stage that was built, whole, and what fell to each configuration; none where nothing is known."""
    built: dict[str, Mapping[str, Any]] = {}
    for cell in matrix.cells:
        for line in (cell.get("cost") or {}).get("stages") or ():
            built.setdefault(line["identity"], line)
    shared = [line for line in built.values() if line["cells"] != 1]
    own: dict[str, list[Mapping[str, Any]]] = {}
    for line in built.values():
        if line["cells"] == 1:
            own.setdefault(line["stage"], []).append(line)
    if not built:
        return []
    return [_shared(shared, own), *_by_row(matrix, lines)]


def _shared(shared: Sequence[Mapping[str, Any]], own: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    heads = ["stage", "of", "whole seconds", "needed by", "seconds for each", "device", "peak memory, MB"]
    dearest = sorted(shared, key=lambda line: -line["seconds"])
    lines = [
        [
            *(line["stage"], line["name"], short(line["seconds"]), f"{line['cells']} cells", short(line["share"])),
            *(line["device"], _megabytes([line])),
        ]
        for line in dearest[:LONGEST]
    ]
    if rest := dearest[LONGEST:]:
        lines.append(["others", f"{len(rest)} stages", short(sum(line["seconds"] for line in rest)), *[NONE] * 4])
    for stage, all_of in own.items():
        seconds = sum(line["seconds"] for line in all_of)
        devices = ", ".join(dict.fromkeys(line["device"] for line in all_of))
        mean = short(seconds / len(all_of))
        lines.append([stage, f"{len(all_of)} of them", short(seconds), "its own cell", mean, devices])
        lines[-1].append(_megabytes(all_of))
    return Table("Every stage that was built, whole; those that cells share first", heads, lines, 2)


def _by_row(matrix: Matrix, lines: Lines) -> list[Table]:
    keys = {
        "own_seconds": "its own",
        "shared_out_seconds": "its share of what it shares",
        "total_seconds": "both",
        "shared_seconds": "what it shares, whole",
    }
    return _means(matrix, lines, "Seconds of a cell, mean over what each configuration has finished", keys, short)


def inference(matrix: Matrix, lines: Lines) -> list[Table]:
    """Real-time factor and first-token latency of each configuration, one utterance at a time and in batches."""
    known = [one for cell in matrix.cells if (one := (cell.get("cost") or {}).get("inference"))]
    if not known:
        return []
    batches = sorted({one["batched"]["batch"] for one in known if one.get("batched")})
    devices = ", ".join(dict.fromkeys(f"{one['device']}, {one['threads']} threads" for one in known))
    together = ", ".join(map(str, sorted({one["trials_at_once"] for one in known if one.get("trials_at_once")})))
    caption = (
        f"Answering the test set: seconds of work a second of audio (RTF) and until the first token, encoder included; in "
        f"batches of {', '.join(map(str, batches)) or NONE} · {devices}"
        + (f" · trials at once: {together}" if together else "")
    )
    keys = {
        "rtf": "RTF, one at a time",
        "first_token_seconds": "first token, one at a time, ms",
        "rtf_batched": "RTF, in batches",
        "first_token_seconds_batched": "first token, in batches, ms",
    }
    return _means(matrix, lines, caption, keys, str)


def _means(matrix: Matrix, places: Lines, caption: str, keys: Mapping[str, str], write: Any) -> list[Table]:
    """A line for each configuration with the means of some costs over its finished cells."""
    layout = matrix.layout
    lines = []
    for row, line in zip(layout.rows, places, strict=True):
        means = {name: _mean(line, name) for name in keys}
        if any(value is not None for value in means.values()):
            lines.append([*layout.label(row), *(_written(name, value, write) for name, value in means.items())])
    heads = [*(name.replace("_", " ") for name in layout.labels), *keys.values()]
    return [Table(caption, heads, lines, len(layout.labels))] if lines else []


def _written(name: str, value: float | None, write: Any) -> str:
    if value is None:
        return NONE
    if name.startswith("first_token"):
        return f"{value * 1e3:.3g}"
    return f"{value:.3g}" if name.startswith("rtf") else write(value)


def _mean(line: Iterable[Place], name: str) -> float | None:
    costs = [cell["cost"].get(name) for place in line for cell in place.finished if cell["cost"]]
    known = [value for value in costs if is_number(value)]
    return statistics.fmean(known) if known else None


def _megabytes(lines: Iterable[Mapping[str, Any]]) -> str:
    known = [line["peak_memory_bytes"] for line in lines if line.get("peak_memory_bytes")]
    return f"{max(known) / MEGABYTE:,.0f}" if known else NONE


def equal_compute(matrix: Matrix) -> list[Table]:
    """Of each task the dev error that configurations had reached within the same FLOPs, and within the same seconds."""
    from orchestrator.report.compute import COSTS, equal_compute
    from orchestrator.report.scales import si

    return [
        Table(
            f"{one.title}: dev error % within the same {said}{_of(one.lines)}",
            ["features", *(f"{si(budget)}{' s' if cost == 'seconds' else ''}" for budget in one.budgets)],
            [
                [line.label, *(NONE if e is None else f"{100 * e:.1f}" for e in line.errors)]
                for line in _ahead(one.lines)
            ],
        )
        for cost, said in COSTS.items()
        for one in equal_compute(matrix, cost)
    ]


def _of(lines: Sequence[Reached]) -> str:
    return f", the best {AHEAD} of {len(lines)}" if len(lines) > AHEAD else ""


def _ahead(lines: Sequence[Reached]) -> Sequence[Reached]:
    """Those with the least errors at the largest budget, where there are too many; in the order of the matrix."""
    if len(lines) <= AHEAD:
        return lines
    best = sorted(lines, key=lambda line: math.inf if line.errors[-1] is None else line.errors[-1])[:AHEAD]
    return sorted(best, key=lambda line: line.row)
