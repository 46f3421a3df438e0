"""Commands about what surrounds a grid: MLflow, and what this machine has."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from orchestrator.commands.common import SpaceName, StoreOption, TrackingOption, err, out
from orchestrator.errors import UserError
from orchestrator.store import DEFAULT_STORE, local_path


def ui(
    store: StoreOption = DEFAULT_STORE,
    port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 5000,
) -> None:
    """Opens the MLflow UI of the store on 127.0.0.1."""
    from orchestrator.tracking import links

    database = local_path(store) / "mlflow.db"
    if not database.exists():
        raise UserError(
            f"there is nothing to show yet: {database} doesn't exist. Run a space first: tokengrid run demo"
        )
    out.print(f"MLflow on [link]http://127.0.0.1:{port}[/] (Ctrl-C ends it)")
    server = f"http://127.0.0.1:{port}"
    first = {link.space: link.address for link in reversed(links(f"sqlite:///{database}", server))}
    for name, address in first.items():
        out.print(f"  {name}: {address}", highlight=False, soft_wrap=True)
    arguments = ["server", "--backend-store-uri", f"sqlite:///{database}", "--host", "127.0.0.1", "--port", str(port)]
    arguments += ["--default-artifact-root", (database.parent / "mlartifacts").as_uri(), "--workers", "1"]
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *arguments])


def sync(
    space: SpaceName,
    store: StoreOption = DEFAULT_STORE,
    tracking_uri: TrackingOption = None,
) -> None:
    """Writes to MLflow what it has missed: after an outage, or into a new server. Doing it again changes nothing."""
    from orchestrator.grid import Grid

    with err.status("comparing the store with MLflow …"):
        synced = Grid(space, store, read_audio=False).sync(tracking_uri)
    out.print(
        f"{synced.uri} has the runs of {synced.cells} cells; {synced.runs} runs were written",
        highlight=False,
        soft_wrap=True,
    )


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
