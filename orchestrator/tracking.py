"""MLflow: one parent run a launch, one child run a cell, the comparison matrix on the parent.

The records in the store are the truth, MLflow is a view of it, written by one `Tracker` on the driver. A space is an
experiment. A cell has one child run in it, whichever launches include it: the child stays under the launch that logged
it, while the matrix on every parent has all cells. A run is written once: when the record of its cell changes (a failed
cell is mended, an older result is trained anew), a new run takes its place, since parameters in MLflow never change
and points of old curves would stay; the old run is marked and deleted, which `mlflow` can undo.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import report
from orchestrator.errors import UserError
from orchestrator.lease import Lease
from orchestrator.matrix import COORDINATES, Matrix, ordered
from orchestrator.report.words import describe, is_number

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

CELL, IDENTITY, LAUNCH, RECORD = "tokengrid.cell", "tokengrid.identity", "tokengrid.launch", "tokengrid.record"
STATUS, REASON, SUPERSEDED = "tokengrid.status", "tokengrid.reason", "tokengrid.superseded_by"
PARENT, NAME, NOTE = "mlflow.parentRunId", "mlflow.runName", "mlflow.note.content"

METRICS_A_BATCH = 1000
"""MLflow takes no more at once."""

TAG_CHARACTERS = 7000
"""MLflow cuts a tag at 8000 characters; here it is cut earlier, and says so."""


class Tracker:
    """Writes the runs of one space. Only the driver has one.

    Args:
        uri: where MLflow tracks; the environment's MLFLOW_TRACKING_URI where None, else a SQLite file under `root`.
        root: the state folder; artifacts go there too, unless a server keeps them.
        space: the name of the search space, which names the experiment.

    Raises:
        UserError: MLflow can't be reached, or can't use this place.
    """

    def __init__(self, uri: str | None, root: Path | str, space: str):
        self.root = Path(root).absolute()
        self.root.mkdir(parents=True, exist_ok=True)
        self.uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.root / 'mlflow.db'}"
        self.space = space
        self.parent: str | None = None
        self._logged: dict[str, tuple[str, str]] | None = None
        with self._alone():
            try:
                self._client = _client(self.uri)
                self.experiment = self._open_experiment()
            except Exception as error:
                raise UserError(
                    f"MLflow can't track in {self.uri}: {str(error).splitlines()[0]} "
                    "Give a database (sqlite:////folder/mlflow.db) or the address of a running `mlflow server`, "
                    "or unset MLFLOW_TRACKING_URI to use the store."
                ) from error

    def start(self, launch: str, params: Mapping[str, Any] | None = None, tags: Mapping[str, Any] | None = None) -> str:
        """Opens the parent run of a launch and returns its id. The same launch, resumed, gets the same run again.

        Args:
            launch: an id of the launch, of letters, digits and dashes.
            params: how it was launched. Of a resumed launch only what was not known before is added.
            tags: anything else to be found by.
        """
        found = self._find(LAUNCH, launch)
        if found:
            run = found[0]
            self._client.update_run(run.info.run_id, status="RUNNING")
        else:
            run = self._client.create_run(self.experiment, tags={LAUNCH: launch}, run_name=f"{self.space} {launch}")
        new = {key: value for key, value in (params or {}).items() if key not in run.data.params}
        self._write(run.info.run_id, params=new, tags=tags or {})
        self.parent = run.info.run_id
        return self.parent

    def withdraw(self) -> None:
        """Deletes the parent run of a launch that could not begin."""
        if self.parent is not None:
            self._client.delete_run(self.parent)
            self.parent = None

    def log_cell(
        self,
        record: Mapping[str, Any],
        curve: Sequence[Mapping[str, Any]] = (),
        identity: str = "",
        artifacts: Iterable[Path] = (),
    ) -> str | None:
        """Makes the child run of a cell what its record says, and returns its id. Logging again changes nothing.

        Metrics: `primary` and `baseline` (of the first test set), `<test set>/<metric>`, `dev/<metric>`,
        `cost/<quantity>`, and `curve/<quantity>` over steps. Parameters: every coordinate, empty where it does not
        apply.

        Args:
            record: a record of the matrix. Only finished and failed cells have runs.
            curve: rows of the learning curve, each with its `step`.
            identity: the identity of the cell's artifact.
            artifacts: small files to keep with the run.

        Returns:
            The run's id; None for a cell that is neither finished nor failed.
        """
        if record["status"] not in ("ok", "failed"):
            return None
        cell, body = str(record["cell"]), ordered(dict(record))
        digest = _digest([body, identity, list(curve)])
        known = self._known().get(cell)
        if known and known[1] == digest:
            return known[0]
        with self._alone():
            # Another launch on this store may have logged the cell since.
            old = self._find(CELL, cell)
            same = [run.info.run_id for run in old if run.data.tags.get(RECORD) == digest]
            run_id = same[0] if same else self._new_run(body, curve, identity, artifacts, digest)
            for run in old:
                if run.info.run_id != run_id:
                    self._client.set_tag(run.info.run_id, SUPERSEDED, run_id)
                    self._client.delete_run(run.info.run_id)
        self._known()[cell] = (run_id, digest)
        return run_id

    def finish(self, matrix: Matrix, interrupted: bool = False) -> None:
        """Puts the matrix on the parent run, as CSV, JSON, Markdown, HTML and heat map, and closes it."""
        if self.parent is None:
            raise RuntimeError("start a launch before finishing it")
        markdown, counts = matrix.to_markdown(), matrix.counts()
        texts = {"csv": matrix.to_csv(), "json": matrix.to_json(), "md": markdown, "html": matrix.to_html()}
        for kind, text in texts.items():
            self._client.log_text(self.parent, text, f"matrix.{kind}")
        for name in report.drawable(matrix):
            self._client.log_figure(self.parent, report.draw(name, matrix), f"{name}.png")
        tags = {f"tokengrid.cells.{status}": count for status, count in counts.items()}
        self._write(self.parent, tags={**tags, NOTE: markdown})
        status = "KILLED" if interrupted else "FAILED" if counts["failed"] else "FINISHED"
        self._client.set_terminated(self.parent, status)

    def _new_run(
        self,
        record: Mapping[str, Any],
        curve: Sequence[Mapping[str, Any]],
        identity: str,
        artifacts: Iterable[Path],
        digest: str,
    ) -> str:
        ok = record["status"] == "ok"
        reason = record["reason"] or ""
        now = int(time.time() * 1000)
        seconds = (record["cost"] or {}).get("train_seconds")
        tags = {CELL: record["cell"], IDENTITY: identity, STATUS: record["status"], NAME: describe(record)}
        tags |= {f"tokengrid.{key}": record[key] or "" for key in ("primary", "stopped")}
        tags |= {PARENT: self.parent} if self.parent else {}
        # The run lasts as long as the training did, so that MLflow's column of durations tells something.
        run = self._client.create_run(
            self.experiment,
            start_time=now - int(1000 * seconds) if is_number(seconds) else now,
            tags={key: _cut(value) for key, value in tags.items()},
        )
        run_id = run.info.run_id
        params = {name: record[name] for name in COORDINATES}
        self._write(run_id, params=params, metrics=[*_points(_metrics(record), 0, now), *_curve(curve, now)])
        self._client.log_dict(run_id, dict(record), "cell.json")
        for path in artifacts:
            self._client.log_artifact(run_id, str(path))
        # Last, so that a run that was interrupted half-way is replaced.
        self._write(run_id, tags={RECORD: digest} if ok else {RECORD: digest, REASON: reason, NOTE: reason})
        self._client.set_terminated(run_id, "FINISHED" if ok else "FAILED", end_time=now)
        return run_id

    def _write(
        self,
        run_id: str,
        params: Mapping[str, Any] | None = None,
        metrics: Sequence[Metric] = (),
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        from mlflow.entities import Param, RunTag

        named = [Param(key, _text(value)) for key, value in (params or {}).items()]
        tagged = [RunTag(key, _cut(value)) for key, value in (tags or {}).items()]
        if named or tagged:
            self._client.log_batch(run_id, params=named, tags=tagged)
        for start in range(0, len(metrics), METRICS_A_BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + METRICS_A_BATCH])

    def _known(self) -> dict[str, tuple[str, str]]:
        """The runs of all cells that are logged already, as (run id, digest of the record), read once."""
        if self._logged is None:
            runs = self._search(f"tags.`{RECORD}` != ''")
            self._logged = {run.data.tags[CELL]: (run.info.run_id, run.data.tags[RECORD]) for run in runs}
        return self._logged

    def _find(self, tag: str, value: str) -> list[Any]:
        return self._search(f"tags.`{tag}` = '{value}'")

    def _search(self, query: str) -> list[Any]:
        found, token = [], None
        while True:
            page = self._client.search_runs([self.experiment], query, max_results=1000, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _open_experiment(self) -> str:
        """The id of the experiment of the space, made where it is missing and restored where it was deleted."""
        experiment = self._client.get_experiment_by_name(self.space)
        if experiment is None:
            # A server decides itself where artifacts go; a database needs an absolute place.
            place = None if self.uri.startswith("http") else (self.root / "mlartifacts").as_uri()
            return self._client.create_experiment(self.space, artifact_location=place)
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        return experiment.experiment_id

    def _alone(self) -> Lease:
        """Of several launches on one store one writes at a time, so that no cell gets two runs."""
        return Lease(self.root / "mlflow.lease", poll_seconds=0.05)


def _client(uri: str) -> MlflowClient:
    """A client that reports nothing to anybody and keeps its words out of the terminal."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def _metrics(record: Mapping[str, Any]) -> dict[str, Any]:
    named = {"primary": (record["metrics"] or {}).get(record["primary"]), "baseline": record["baseline"]}
    for result in record["results"] or ():
        named |= {f"{result['test_set']}/{name}": value for name, value in result["metrics"].items()}
        named |= {f"{result['test_set']}/n": result["n"]}
    named |= {f"dev/{name}": value for name, value in (record["dev"] or {}).items()}
    return named | {f"cost/{name}": value for name, value in (record["cost"] or {}).items()}


def _curve(curve: Iterable[Mapping[str, Any]], timestamp: int) -> Iterator[Metric]:
    for row in curve:
        yield from _points({f"curve/{k}": v for k, v in row.items() if k != "step"}, int(row["step"]), timestamp)


def _points(named: Mapping[str, Any], step: int, timestamp: int) -> Iterator[Metric]:
    """Metrics of all values that are numbers: MLflow would store infinity as 1.8e308, and draw NaN as a point."""
    from mlflow.entities import Metric

    for name, value in named.items():
        if is_number(value):
            # MLflow takes word characters, dots, dashes, blanks, slashes and colons.
            yield Metric(re.sub(r"[^\w.\-/: ]", "_", name, flags=re.ASCII), float(value), timestamp, step)


def _digest(value: Any) -> str:
    """A hash of plain values, whatever they are: only equality counts."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _text(value: Any) -> str:
    """A parameter as MLflow shows it; empty where it does not apply, so that every cell has the same parameters."""
    if value is None:
        return ""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _cut(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= TAG_CHARACTERS else text[:TAG_CHARACTERS] + " … (cut)"
