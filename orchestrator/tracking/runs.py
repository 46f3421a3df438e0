"""Tracker: writes the runs of one space. What they are is said in the package's docstring."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.matrix import COORDINATES, Matrix, ordered
from orchestrator.report.words import describe, is_number
from orchestrator.tracking import launch_run, notes, predictions, tags, values
from orchestrator.tracking.client import answers
from orchestrator.tracking.experiment import Experiment
from orchestrator.tracking.material import Material
from orchestrator.tracking.tags import CELL, IDENTITY, JUDGED, LAUNCH, MATRIX, NAME, NOTE, PARENT, RECORD

if TYPE_CHECKING:
    from mlflow.entities import Run

LAYOUT = 2
"""Raised when runs get something new that older runs should have, too: these are then written anew."""

RESULT = ("cell", *COORDINATES, "status", "reason", "stopped", "primary", "dev", "baseline")
"""What of a record makes a run. Costs and statistics are left out: they change when other cells join them."""

DONE = ("FINISHED", "FAILED", "KILLED")


@dataclass(frozen=True)
class _Known:
    """A cell's run as MLflow has it: digests of its result, and of what was said about it last."""

    run_id: str
    record: str
    judged: str


class Tracker:
    """Writes the runs of one space. Only the driver has one.

    Attributes:
        written: how many runs were made or changed.

    Args:
        uri: where MLflow tracks; the environment's MLFLOW_TRACKING_URI where None, else a SQLite file under `root`.
        root: the state folder; artifacts go there too, unless a server keeps them.
        space: the name of the search space, which names the experiment.

    Raises:
        UserError: MLflow can't be reached, or can't use this place.
    """

    def __init__(self, uri: str | None, root: Path | str, space: str):
        root = Path(root).absolute()
        root.mkdir(parents=True, exist_ok=True)
        self.space = space
        self._book = Experiment(uri, root, space)
        self._client = self._book.client
        self.uri, self.experiment = self._book.uri, self._book.id
        self.parent: str | None = None
        self.written: set[str] = set()
        self._cells: dict[str, _Known] | None = None
        self._colours: dict[str, str] = {}

    def answers(self) -> bool:
        """Whether MLflow can be reached; asked once, without patience."""
        return answers(self._client)

    def present(self, question: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Gives the experiment its description and its views; `records` have coordinates and `primary` of every cell."""
        self._colours = tags.colours(records)
        with self._book.alone():
            self._book.present(question, records)

    def start(
        self,
        launch: str,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        started: float | None = None,
        reopen: bool = True,
    ) -> str:
        """Opens the parent run of a launch and returns its id. The same launch, resumed, gets the same run again.

        Args:
            launch: an id of the launch, of letters, digits and dashes.
            params: how it was launched. Of a resumed launch only what was not known before is added.
            tags: anything else to be found by.
            started: when, in seconds since 1970; None for now.
            reopen: whether a run that is there is shown as running again.
        """
        with self._book.alone():
            found = self._book.find(LAUNCH, launch)
            if found:
                run = found[0]
                if reopen:
                    self._client.update_run(run.info.run_id, status="RUNNING")
            else:
                at = int(1000 * (time.time() if started is None else started))
                run = self._client.create_run(
                    self.experiment, start_time=at, tags={LAUNCH: launch}, run_name=f"{self.space} {launch}"
                )
                self.written.add(run.info.run_id)
            new = {key: value for key, value in (params or {}).items() if key not in run.data.params}
            self._book.write(run.info.run_id, params=new, tags=tags or {})
        self.parent = run.info.run_id
        return self.parent

    def withdraw(self) -> None:
        """Deletes the parent run of a launch that could not begin."""
        if self.parent is not None:
            self._client.delete_run(self.parent)
            self.parent = None

    def log_cell(self, record: Mapping[str, Any], material: Material | None = None) -> str | None:
        """Makes the child run of a cell what its record says, and returns its id. Logging again changes nothing.

        Metrics: `primary` and `baseline` (of the first test set), `by task/<task> <corpus> <metric>` (the same, of
        this task alone), `<test set>/<metric>`, `dev/<metric>`, `cost/<quantity>`, `interval/low` and `interval/high`;
        over steps `curve/<quantity>`, and `progress/<quantity>` to draw them against. Parameters: every coordinate.

        Args:
            record: a record of the matrix. Only finished and failed cells have runs.
            material: what else belongs to this result.

        Returns:
            The run's id; None for a cell that is neither finished nor failed.
        """
        if record["status"] not in ("ok", "failed"):
            return None
        material = material or Material()
        cell, digest = str(record["cell"]), _fingerprint(record, material)
        known = self._known().get(cell)
        if known and known.record == digest:
            return known.run_id
        with self._book.alone():
            # Another launch on this store may have logged the cell since.
            old = self._book.find(CELL, cell)
            same = [run for run in old if run.data.tags.get(RECORD) == digest]
            kept = _known(same[0]) if same else self._new_run(record, material, digest)
            for run in old:
                if run.info.run_id != kept.run_id:
                    self._client.set_tag(run.info.run_id, tags.SUPERSEDED, kept.run_id)
                    self._client.delete_run(run.info.run_id)
        self._known()[cell] = kept
        return kept.run_id

    def finish(
        self, matrix: Matrix, interrupted: bool = False, report: str | None = None, ended: float | None = None
    ) -> None:
        """Puts matrix, figures and report on the parent run and closes it; tells cells what is known of them by now.

        Args:
            report: the HTML page.
            ended: in seconds since 1970; None for now.
        """
        if self.parent is None:
            raise RuntimeError("start a launch before finishing it")
        counts, digest = matrix.counts(), launch_run.fingerprint(matrix)
        status = "KILLED" if interrupted else "FAILED" if counts["failed"] else "FINISHED"
        with self._book.alone():
            self._judge(matrix.cells)
            run = self._client.get_run(self.parent)
            if run.data.tags.get(MATRIX) != digest or (report and tags.REPORT not in run.data.tags):
                launch_run.log_artifacts(self._client, self.parent, matrix, report)
                told: dict[str, Any] = {f"tokengrid.cells.{name}": count for name, count in counts.items()}
                told |= {tags.REPORT: "report.html"} if report else {}
                # Last, so that a launch that was interrupted here is written again.
                self._settle(run, launch_run.numbers(matrix), {**told, NOTE: matrix.to_markdown(), MATRIX: digest})
            elif run.info.status == status:
                return
            self._close(run, status, ended)

    def close(self, launch: str, interrupted: bool, ended: float | None) -> None:
        """Closes the parent run of an earlier launch that has ended, where it is still open."""
        for run in self._book.find(LAUNCH, launch):
            if run.info.status not in DONE:
                self._close(run, "KILLED" if interrupted else "FINISHED", ended)

    def _close(self, run: Run, status: str, ended: float | None) -> None:
        at = int(1000 * (time.time() if ended is None else ended))
        self._client.set_terminated(run.info.run_id, status, end_time=max(at, run.info.start_time))
        self.written.add(run.info.run_id)

    def _new_run(self, record: Mapping[str, Any], material: Material, digest: str) -> _Known:
        ok = record["status"] == "ok"
        ended = int(1000 * (time.time() if material.ended is None else material.ended))
        seconds = (record["cost"] or {}).get("train_seconds")
        # The run lasts as long as the training did, so that durations and the time axis of curves tell something.
        start = ended - int(1000 * seconds) if is_number(seconds) else ended
        named = {CELL: record["cell"], IDENTITY: material.identity, NAME: describe(record)}
        named |= {tags.STATUS: record["status"], **tags.groups(record)}
        named |= {f"tokengrid.{key}": record[key] or "" for key in ("primary", "stopped")}
        named |= {PARENT: self.parent} if self.parent else {}
        colour = self._colours.get(tags.configuration(record))
        named |= {tags.COLOUR: colour} if colour else {}
        run = self._client.create_run(
            self.experiment, start_time=start, tags={key: values.cut(value) for key, value in named.items()}
        )
        run_id = run.info.run_id
        judged, costs, note = _judgement(record)
        points = [
            *values.points(values.scores(record) | costs, 0, ended),
            *values.curve(material.curve, start),
        ]
        self._book.write(
            run_id, params={name: values.param(name, record[name]) for name in COORDINATES}, metrics=points
        )
        if material.inputs:
            self._client.log_inputs(run_id, datasets=[one.entity() for one in material.inputs])
        self._client.log_dict(run_id, {k: v for k, v in ordered(dict(record)).items() if k != "curve"}, "cell.json")
        last = {} if ok else {tags.REASON: record["reason"] or ""}
        if material.predictions is not None:
            last[tags.PREDICTIONS] = self._log_predictions(run_id, record, material.predictions)
        # Last, so that a run that was interrupted half-way is replaced.
        self._book.write(run_id, tags={RECORD: digest, JUDGED: judged, NOTE: note, **last})
        self._client.set_terminated(run_id, "FINISHED" if ok else "FAILED", end_time=ended)
        self.written.add(run_id)
        return _Known(run_id, digest, judged)

    def _log_predictions(self, run_id: str, record: Mapping[str, Any], path: Path) -> str:
        table, told = predictions.table(path, record)
        self._client.log_table(run_id, table, "predictions.json")
        if path.stat().st_size < predictions.PARQUET_BYTES:
            self._client.log_artifact(run_id, str(path))
        return told

    def _judge(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Tells the runs of finished cells what is known of them once all cells are."""
        for record in records:
            known = self._known().get(str(record["cell"]))
            if known is None or record["status"] != "ok":
                continue
            digest, costs, note = _judgement(record)
            if digest != known.judged:
                self._settle(self._client.get_run(known.run_id), costs, {NOTE: note, JUDGED: digest})
                self._known()[str(record["cell"])] = _Known(known.run_id, known.record, digest)

    def _settle(self, run: Run, named: Mapping[str, float], tagged: Mapping[str, Any]) -> None:
        """Writes metrics of which only the last value counts, where it has changed, and tags."""
        changed = {name: value for name, value in named.items() if run.data.metrics.get(name) != value}
        self._book.write(run.info.run_id, metrics=list(values.points(changed, 0, int(1000 * time.time()))), tags=tagged)
        self.written.add(run.info.run_id)

    def _known(self) -> dict[str, _Known]:
        """The runs of all cells that are logged already, read once."""
        if self._cells is None:
            runs = self._book.search(f"tags.`{RECORD}` != ''")
            self._cells = {run.data.tags[CELL]: _known(run) for run in runs}
        return self._cells


def _known(run: Run) -> _Known:
    return _Known(run.info.run_id, run.data.tags[RECORD], run.data.tags.get(JUDGED, ""))


def _fingerprint(record: Mapping[str, Any], material: Material) -> str:
    """Equal for a result that has been written already."""
    body = ordered(dict(record))
    tests = [[result[key] for key in ("test_set", "n", "metrics")] for result in body["results"] or ()]
    return values.digest([LAYOUT, [body[key] for key in RESULT], tests, material.identity, list(material.curve)])


def _judgement(record: Mapping[str, Any]) -> tuple[str, dict[str, Any], str]:
    """Costs and statistics of a record as metrics, its description, and a digest of both."""
    costs, note = values.judgements(record), notes.of_cell(record)
    return values.digest([costs, note]), costs, note
