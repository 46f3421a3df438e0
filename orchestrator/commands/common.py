"""What commands share: their options, where they print, how a matrix is shown."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orchestrator.errors import UserError, suggest
from orchestrator.store import DEFAULT_STORE

if TYPE_CHECKING:
    from rich.console import Group

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
BaselineOption = Annotated[
    list[str] | None,
    typer.Option(
        "--baseline",
        help="What cells are compared with: features=none, codebook=100 … By default features=continuous. "
        "All other coordinates are the cell's own. May be repeated.",
    ),
]
TrackingOption = Annotated[
    str | None,
    typer.Option(envvar="MLFLOW_TRACKING_URI", help="Where MLflow tracks; by default a SQLite file in the store."),
]


def only_of(given: list[str] | None) -> dict[str, list[str]]:
    from orchestrator.cell import Cell

    wanted: dict[str, list[str]] = {}
    for entry in given or []:
        key, sign, values = entry.partition("=")
        if not sign or not values:
            raise UserError(f"--only wants coordinate=value, got '{entry}'; {suggest(key, Cell.__dataclass_fields__)}")
        wanted.setdefault(key, []).extend(values.split(","))
    return wanted


def told(store: str) -> str:
    """The option that names a store in a command for the user to copy; nothing where it is the default one."""
    return "" if store == DEFAULT_STORE else f" --store {shlex.quote(store)}"


def show(render: Callable[[int], Group]) -> None:
    """Prints what fits the terminal's width."""
    # A file or a pipe has no width of its own: wide enough for the demo's six tasks.
    console = out if out.is_terminal else Console(width=max(out.width, 110))
    console.print(render(console.width))
