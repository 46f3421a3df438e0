"""The way to MLflow: a client that reports nothing to anybody, and fails soon and in words where nobody answers."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import UserError, suggest

if TYPE_CHECKING:
    from mlflow import MlflowClient

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")
PATIENCE = {"MAX_RETRIES": "2", "TIMEOUT": "30", "BACKOFF_FACTOR": "1"}
"""Of a request to a server; MLflow's own of 7 tries and 120 s would hold a launch for minutes. The environment decides."""
HASTE = {"MAX_RETRIES": "0", "TIMEOUT": "30"}
"""Of a request that only asks whether somebody is there."""
AUTHENTICATION = (
    " The server wants to know who you are: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
    "MLFLOW_TRACKING_TOKEN."
)

MEANINGS = (
    (r"NameResolutionError|Name or service not known|nodename nor servname", "there is no host of this name."),
    (r"SSLError|SSL:", "no safe connection could be made: is it http instead of https, or is its certificate unknown?"),
    (r"timed out|TimeoutError", "it does not answer in time."),
    (r"NewConnectionError|Connection refused|Connection aborted|ConnectionResetError", "nobody answers there."),
    (r"error code 404 != 200", "what answers there is not MLflow."),
)
"""What errors of HTTP mean; their own words fill a screen."""


def default_uri(uri: str | None, root: Path) -> str:
    """Where MLflow tracks: the given place, else the environment's MLFLOW_TRACKING_URI, else a SQLite file."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"


def connect(uri: str) -> MlflowClient:
    """A client for a database or a server, which is first looked at when it is used."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name, value in PATIENCE.items():
        os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a line for every retry
    return MlflowClient(tracking_uri=uri)


@contextmanager
def haste() -> Iterator[None]:
    """Requests within are tried once. MLflow reads these variables at every request; it has no other way to say it."""
    names = {f"MLFLOW_HTTP_REQUEST_{name}": value for name, value in HASTE.items()}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def answers(client: MlflowClient) -> bool:
    """Whether somebody is there."""
    try:
        with haste():
            client.search_experiments(max_results=1)
    except Exception:
        return False
    return True


def unusable(uri: str, error: Exception) -> UserError:
    """What to tell of a place that can't be used: the reason, and what to do."""
    scheme = uri.partition("://")[0].partition("+")[0] if "://" in uri else ""
    near = f" There is no '{scheme}://': {suggest(scheme, SCHEMES)}." if scheme and scheme not in SCHEMES else ""
    said = reason(error)
    who = AUTHENTICATION if re.search(r"\b40[13]\b", said) else ""
    return UserError(
        f"MLflow can't track in {without_password(uri)}: {said}{near}{who} "
        "Give a database (sqlite:////folder/mlflow.db) or the address of a running `mlflow server`, "
        "or unset MLFLOW_TRACKING_URI to use the store."
    )


def reason(error: Exception) -> str:
    """Why MLflow could not be used, in a line without passwords: in words where they are known, else what it says."""
    said = str(error).strip()
    for pattern, words in MEANINGS:
        if re.search(pattern, said):
            return words
    first = without_password(
        (said or type(error).__name__).splitlines()[0]
    )  # before it is cut, which could part an address
    return first if len(first) <= 300 else first[:300] + " …"


def without_password(text: str) -> str:
    """A text with addresses in it, without what stands before their last @: passwords may hold one, and slashes, too."""
    return re.sub(r"://(?!/)\S+@", "://***@", text)
