"""Commands about a grid: what there is, whether a space is valid, what it would cost, and running it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.common import (
    OnlyOption,
    SpaceName,
    StoreOption,
    TrackingOption,
    err,
    only_of,
    out,
    show,
    told,
)
from orchestrator.store import DEFAULT_STORE

if TYPE_CHECKING:
    import pandas as pd


class What(StrEnum):
    """What `ls` lists."""

    tasks = "tasks"
    corpora = "corpora"
    encoders = "encoders"
    decoders = "decoders"
    spaces = "spaces"


def ls(what: Annotated[What | None, typer.Argument(help="One kind only.")] = None) -> None:
    """Lists tasks, corpus readers, encoders, decoders and search spaces."""
    from orchestrator.inventory import inventory

    for kind in [what] if what else list(What):
        out.print(inventory(kind.value))


def validate(space: SpaceName) -> None:
    """Checks a search space and names every error at once, with its place and the nearest valid name."""
    from orchestrator.space_file import load

    loaded = load(space)
    out.print(f"[green]{loaded.name} is valid[/]: {len(loaded.cells())} cells")


def plan(space: SpaceName, store: StoreOption = DEFAULT_STORE, only: OnlyOption = None) -> None:
    """Shows cells, stages to build and cached, hours of audio, disk and time, before anything is computed."""
    from orchestrator.grid import Grid

    out.print(Grid(space, store, only_of(only)).plan().render())


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
    tracking_uri: TrackingOption = None,
) -> None:
    """Runs every cell that is not finished, and prints the matrix. Interrupted, it goes on where it was."""
    from orchestrator.grid import Grid
    from orchestrator.monitor import Monitor
    from orchestrator.report.verdict import verdict

    with Monitor(err) as shown, shown.watch("corpora", kind="index") as watched:
        grid = Grid(space, store, only_of(only), progress=watched)
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
    show(matrix.table)
    whole = f"The whole answer: tokengrid report {space}{told(store)}"
    out.print(f"\n{verdict(matrix).headline}\n{whole}", highlight=False, markup=False, soft_wrap=True)
    counts = matrix.counts()
    if counts["ok"] < len(matrix.cells):
        raise typer.Exit(1)


def _tell_quarantine(name: str, quarantine: pd.DataFrame, most: int = 20) -> None:
    if len(quarantine):
        err.print(f"[yellow]corpus {name}: {len(quarantine)} recordings are left out of every split:[/]")
        for row in quarantine.head(most).itertuples():
            err.print(f"  {row.id} {row.reason}", highlight=False, markup=False)
        if len(quarantine) > most:
            err.print(f"  and {len(quarantine) - most} more, in the quarantine.parquet of its recordings in the store")
