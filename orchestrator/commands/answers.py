"""Commands that show answers: the matrix, the report, the best configuration, the use of tokens."""

from __future__ import annotations

from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.common import (
    BaselineOption,
    OnlyOption,
    SpaceName,
    StoreOption,
    err,
    only_of,
    out,
    show,
    told,
)
from orchestrator.errors import UserError
from orchestrator.store import DEFAULT_STORE


class Format(StrEnum):
    """How `matrix` prints."""

    table = "table"
    csv = "csv"
    json = "json"
    md = "md"
    latex = "latex"


class BestFormat(StrEnum):
    """How `best` prints."""

    table = "table"
    json = "json"


class Audio(StrEnum):
    """Whether the report plays utterances."""

    link = "link"
    embed = "embed"
    none = "none"


class TokenFormat(StrEnum):
    """How `tokens` prints."""

    table = "table"
    csv = "csv"
    json = "json"


def matrix(
    space: SpaceName,
    store: StoreOption = DEFAULT_STORE,
    only: OnlyOption = None,
    format: Annotated[Format, typer.Option("--format", help="How it is printed.")] = Format.table,
    statistics: Annotated[
        bool, typer.Option("--statistics/--no-statistics", help="Intervals, and comparisons with a baseline.")
    ] = True,
    baseline: BaselineOption = None,
    intervals: Annotated[bool, typer.Option("--intervals", help="A table of all intervals and differences.")] = False,
) -> None:
    """Shows the comparison matrix with the status of every cell, also while it runs."""
    from orchestrator.grid import Grid
    from orchestrator.statistics import baselines

    if not statistics and (baseline or intervals):
        raise UserError("--baseline and --intervals are about statistics: leave --no-statistics out")
    wanted = baselines.parse(baseline or [])
    grid = Grid(space, store, only_of(only), read_audio=False)
    with err.status("resampling test sets; what is computed is kept …") if statistics else nullcontext():
        found = grid.matrix(statistics, wanted)
    if format is Format.table:
        show(lambda width: found.table(width, intervals))
    else:
        written = {"csv": found.to_csv, "json": found.to_json, "md": found.to_markdown, "latex": found.to_latex}
        print(written[format.value](), end="")


def report(
    space: SpaceName,
    store: StoreOption = DEFAULT_STORE,
    only: OnlyOption = None,
    baseline: BaselineOption = None,
    to: Annotated[
        Path | None, typer.Option(help="The folder that is written; by default reports/<space> in the store.")
    ] = None,
    audio: Annotated[
        Audio,
        typer.Option(
            help="Of the worst utterances: links to the files where they are, or copies within the page (mind the "
            "licence of a corpus before you pass such a page on)."
        ),
    ] = Audio.link,
) -> None:
    """Writes one HTML page that anybody can read: who wins which task, how sure that is, and what it costs.

    Beside it the figures as PNG and SVG, and the matrix as LaTeX, CSV, JSON and Markdown.
    """
    from orchestrator.grid import Grid
    from orchestrator.statistics import baselines

    wanted = baselines.parse(baseline or [])
    grid = Grid(space, store, only_of(only), read_audio=False)
    with err.status("resampling test sets, drawing figures …"):
        page = grid.report(to, wanted, audio.value)
    out.print(f"the report: {page}", highlight=False, soft_wrap=True)


def best(
    space: SpaceName,
    task: Annotated[str, typer.Option(help="Which task: tokengrid ls tasks.")],
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="cost=most: train_seconds=600, bitrate=500 (bits per second of audio), latency=0.2 (seconds to the first "
            "token), flops=1e15 … May be repeated."
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    only: OnlyOption = None,
    format: Annotated[BestFormat, typer.Option("--format", help="How it is printed.")] = BestFormat.table,
) -> None:
    """Names the configuration that is best on the dev set within a budget, with its test score and interval."""
    from orchestrator import best as choosing
    from orchestrator.grid import Grid
    from orchestrator.report import best_table

    limits = choosing.parse_budget(budget or [])
    grid = Grid(space, store, only_of(only), read_audio=False)
    with err.status("resampling test sets; what is computed is kept …"):
        choices = choosing.best(grid.matrix(statistics=True), task, limits)
    if format is BestFormat.table:
        show(lambda width: best_table.terminal(choices, limits, told(store)))
    else:
        print(best_table.to_json(choices, limits), end="")


def tokens(
    space: SpaceName,
    store: StoreOption = DEFAULT_STORE,
    only: OnlyOption = None,
    format: Annotated[TokenFormat, typer.Option("--format", help="How it is printed.")] = TokenFormat.table,
    figure: Annotated[Path | None, typer.Option(help="Where to draw the distribution (.png, .svg, .pdf).")] = None,
) -> None:
    """Tells how tokens are used and how continuous frames are spread, for every configuration; trains no decoder."""
    from orchestrator import report
    from orchestrator.grid import Grid
    from orchestrator.monitor import Monitor
    from orchestrator.report import token_table

    with Monitor(err) as shown, shown.watch("corpora", kind="index") as watched:
        grid = Grid(space, store, only_of(only), progress=watched)
        grid.index()
    found = grid.analyse(Monitor(err))
    rows = token_table.rows(found.cells)
    if not rows:
        raise UserError(f"{grid.space.name} has no features that could be analysed: see the failures above")
    if figure is not None:
        report.draw("token_distribution", found).savefig(figure)
    if format is TokenFormat.table:
        show(lambda width: token_table.terminal(rows, width))
    else:
        print({"csv": token_table.to_csv, "json": token_table.to_json}[format.value](rows), end="")
