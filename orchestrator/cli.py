"""tokengrid: thin commands over the Python API. Exit code 0 for success, 1 for failed cells, 2 for the user's errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from orchestrator.errors import UserError, suggest
from orchestrator.store import DEFAULT_STORE, local_path

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Group

    from orchestrator.matrix import Matrix

app = typer.Typer(
    help="Which speech features should a speech LLM be fed? Runs the grid and shows the comparison matrix.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
out = Console()
err = Console(stderr=True)

SpaceName = Annotated[str, typer.Argument(metavar="SPACE", help="A name in search_spaces/ or the path of a YAML file.")]
StoreOption = Annotated[
    str, typer.Option("--store", envvar="TOKENGRID_STORE", help="The state folder: artifacts, MLflow database, logs.")
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only", help="A part of the cells: task=asr, features=discrete, codebook=100,200 … May be repeated."
    ),
]
INTERRUPTED = 130


class What(StrEnum):
    """What `ls` lists."""

    tasks = "tasks"
    corpora = "corpora"
    encoders = "encoders"
    decoders = "decoders"
    spaces = "spaces"


class Format(StrEnum):
    """How `matrix` prints."""

    table = "table"
    csv = "csv"
    json = "json"
    md = "md"


class TokenFormat(StrEnum):
    """How `tokens` prints."""

    table = "table"
    csv = "csv"
    json = "json"


@app.command()
def ls(what: Annotated[What | None, typer.Argument(help="One kind only.")] = None) -> None:
    """Lists tasks, corpus readers, encoders, decoders and search spaces."""
    from orchestrator.inventory import inventory

    for kind in [what] if what else list(What):
        out.print(inventory(kind.value))


@app.command()
def validate(space: SpaceName) -> None:
    """Checks a search space and names every error at once, with its place and the nearest valid name."""
    from orchestrator.space_file import load

    loaded = load(space)
    out.print(f"[green]{loaded.name} is valid[/]: {len(loaded.cells())} cells")


@app.command()
def plan(space: SpaceName, store: StoreOption = DEFAULT_STORE, only: OnlyOption = None) -> None:
    """Shows cells, stages to build and cached, hours of audio, disk and time, before anything is computed."""
    from orchestrator.grid import Grid

    out.print(Grid(space, store, _only(only)).plan().render())


@app.command()
def run(
    space: SpaceName,
    store: StoreOption = DEFAULT_STORE,
    only: OnlyOption = None,
    local: Annotated[bool, typer.Option("--local", help="One after the other in this process, without Ray.")] = False,
    address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", help="Of a Ray cluster (`auto` finds it); by default this machine is used."),
    ] = None,
    gpus: Annotated[
        int, typer.Option(min=0, help="To which an autoscaling cluster may grow; those it has now count anyway.")
    ] = 0,
    tracking_uri: Annotated[
        str | None,
        typer.Option(envvar="MLFLOW_TRACKING_URI", help="Where MLflow tracks; by default a SQLite file in the store."),
    ] = None,
) -> None:
    """Runs every cell that is not finished, and prints the matrix. Interrupted, it goes on where it was."""
    from orchestrator.grid import Grid
    from orchestrator.monitor import Monitor

    with Monitor(err) as shown, shown.watch("corpora", kind="index") as watched:
        grid = Grid(space, store, _only(only), progress=watched)
        grid.index()
    for corpus in grid.graph.corpora.values():
        _tell_quarantine(corpus.name, corpus.quarantine)
    matrix = grid.run(
        local=local,
        address=None if local else address,
        gpus=gpus,
        monitor=Monitor(err),
        tracking_uri=tracking_uri,
    )
    _show(matrix)
    counts = matrix.counts()
    if counts["ok"] < len(matrix.cells):
        raise typer.Exit(1)


@app.command()
def matrix(
    space: SpaceName,
    store: StoreOption = DEFAULT_STORE,
    only: OnlyOption = None,
    format: Annotated[Format, typer.Option("--format", help="How it is printed.")] = Format.table,
    statistics: Annotated[
        bool, typer.Option("--statistics/--no-statistics", help="Intervals, and comparisons with a baseline.")
    ] = True,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            help="What cells are compared with: features=none, codebook=100 … By default features=continuous. "
            "All other coordinates are the cell's own. May be repeated."
        ),
    ] = None,
    intervals: Annotated[bool, typer.Option("--intervals", help="A table of all intervals and differences.")] = False,
) -> None:
    """Shows the comparison matrix with the status of every cell, also while it runs."""
    from orchestrator.grid import Grid
    from orchestrator.statistics import baselines

    if not statistics and (baseline or intervals):
        raise UserError("--baseline and --intervals are about statistics: leave --no-statistics out")
    wanted = baselines.parse(baseline or [])
    grid = Grid(space, store, _only(only), read_audio=False)
    with err.status("resampling test sets; what is computed is kept …") if statistics else nullcontext():
        found = grid.matrix(statistics, wanted)
    if format is Format.table:
        _print(lambda width: found.table(width, intervals))
    else:
        print({"csv": found.to_csv, "json": found.to_json, "md": found.to_markdown}[format.value](), end="")


@app.command()
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
        grid = Grid(space, store, _only(only), progress=watched)
        grid.index()
    found = grid.analyse(Monitor(err))
    rows = token_table.rows(found.cells)
    if not rows:
        raise UserError(f"{grid.space.name} has no features that could be analysed: see the failures above")
    if figure is not None:
        report.draw("token_distribution", found).savefig(figure)
    if format is TokenFormat.table:
        _print(lambda width: token_table.terminal(rows, width))
    else:
        print({"csv": token_table.to_csv, "json": token_table.to_json}[format.value](rows), end="")


@app.command()
def ui(
    store: StoreOption = DEFAULT_STORE,
    port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 5000,
) -> None:
    """Opens the MLflow UI of the store on 127.0.0.1."""
    database = local_path(store) / "mlflow.db"
    if not database.exists():
        raise UserError(
            f"there is nothing to show yet: {database} doesn't exist. Run a space first: tokengrid run demo"
        )
    out.print(f"MLflow on [link]http://127.0.0.1:{port}[/] (Ctrl-C ends it)")
    arguments = ["server", "--backend-store-uri", f"sqlite:///{database}", "--host", "127.0.0.1", "--port", str(port)]
    arguments += ["--default-artifact-root", (database.parent / "mlartifacts").as_uri(), "--workers", "1"]
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *arguments])


@app.command()
def doctor(
    store: StoreOption = DEFAULT_STORE,
    address: Annotated[str | None, typer.Option(envvar="RAY_ADDRESS", help="Of a Ray cluster to look at.")] = None,
) -> None:
    """Says what this machine and a cluster have, and what is missing."""
    from orchestrator.doctor import examine

    report = examine(store, address)
    out.print(report.render())
    if report.problems:
        raise typer.Exit(1)


def main() -> None:
    """The entry point: prints the user's errors without a traceback, unless `--debug` asks for it."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        code = app(arguments, standalone_mode=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        code = _explain(error, debug)
    if code == INTERRUPTED:  # typer returns it, too
        err.print("\n[yellow]interrupted[/]: what is finished is kept; the same command goes on from there")
        os._exit(code)  # Ray's threads would hold the process
    sys.exit(code or 0)


def _explain(error: Exception, debug: bool) -> int:
    if debug:
        err.print_exception()
    if hasattr(error, "format_message"):  # typer's and click's own: unknown options, missing arguments
        _complain("error", error.format_message())
        return 2
    if isinstance(error, (UserError, OSError)):
        _complain("error", str(error))
        return 2
    _complain("unexpected error", f"{type(error).__name__}: {error}\nRun it again with --debug for a traceback.")
    return 1


def _complain(what: str, text: str) -> None:
    # Escaped, since rich would take `[a, b]` for markup; unwrapped, so that paths can be copied.
    err.print(f"[red]{what}:[/] {escape(text)}", highlight=False, soft_wrap=True)


def _only(given: list[str] | None) -> dict[str, list[str]]:
    from orchestrator.cell import Cell

    wanted: dict[str, list[str]] = {}
    for entry in given or []:
        key, sign, values = entry.partition("=")
        if not sign or not values:
            raise UserError(f"--only wants coordinate=value, got '{entry}'; {suggest(key, Cell.__dataclass_fields__)}")
        wanted.setdefault(key, []).extend(values.split(","))
    return wanted


def _tell_quarantine(name: str, quarantine: pd.DataFrame, most: int = 20) -> None:
    if len(quarantine):
        err.print(f"[yellow]corpus {name}: {len(quarantine)} recordings are left out of every split:[/]")
        for row in quarantine.head(most).itertuples():
            err.print(f"  {row.id} {row.reason}", highlight=False, markup=False)
        if len(quarantine) > most:
            err.print(f"  and {len(quarantine) - most} more, in the quarantine.parquet of its recordings in the store")


def _show(matrix: Matrix) -> None:
    _print(matrix.table)


def _print(render: Callable[[int], Group]) -> None:
    # A file or a pipe has no width of its own: wide enough for the demo's six tasks.
    console = out if out.is_terminal else Console(width=max(out.width, 110))
    console.print(render(console.width))


if __name__ == "__main__":
    main()
