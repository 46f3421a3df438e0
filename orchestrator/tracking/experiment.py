"""The experiment of a space: looking for runs, writing into them, and how its page presents itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from orchestrator.lease import Lease
from orchestrator.tracking import client, notes
from orchestrator.tracking.tags import KIND, NOTE, TRAINING
from orchestrator.tracking.values import cut, digest, text
from orchestrator.tracking.views import views

if TYPE_CHECKING:
    from mlflow.entities import Experiment as Entity
    from mlflow.entities import Metric, Run

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
"""In the state folder."""

METRICS_A_BATCH = 1000
"""MLflow takes no more at once."""

OUR_NOTE = "tokengrid.note"
"""The digest of the description that was written here: one that somebody has rewritten since stays."""


class Experiment:
    """The experiment of a space; made where it is missing and restored where it was deleted.

    Attributes:
        uri: where MLflow tracks.
        client: to talk to it.
        id: of the experiment.

    Args:
        root: the state folder; artifacts go there too, unless a server keeps them.

    Raises:
        UserError: MLflow can't be reached, or can't use this place; told after seconds.
    """

    def __init__(self, uri: str | None, root: Path, name: str):
        self._root = root
        self._name = name
        self.uri = client.default_uri(uri, root)
        with self.alone():
            try:
                self.client = client.connect(self.uri)
                with client.haste():
                    entity = self._open()
                self.id = entity.experiment_id
                if KIND not in entity.tags:
                    self.client.set_experiment_tag(self.id, KIND, TRAINING)
            except Exception as error:
                raise client.unusable(self.uri, error) from error

    def alone(self) -> Lease:
        """Of several launches on one store one writes at a time, so that no cell gets two runs."""
        return Lease(self._root / "mlflow.lease", poll_seconds=0.05)

    def present(self, question: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Gives the experiment its description and its views.

        Args:
            records: coordinates and `primary` of every cell.
        """
        known = self.client.get_experiment(self.id).tags
        columns = dict.fromkeys(map(notes.column, records))
        note = notes.of_space(self._name, question, list(columns))
        wanted = dict(view.tag for view in views(records))
        if NOTE not in known or known.get(OUR_NOTE) == digest(known[NOTE]):
            wanted |= {NOTE: note, OUR_NOTE: digest(note)}
        for key, value in wanted.items():
            if known.get(key) != value:
                self.client.set_experiment_tag(self.id, key, value)

    def find(self, tag: str, value: str) -> list[Run]:
        """The runs that have a tag of this value."""
        return self.search(f"tags.`{tag}` = '{value}'")

    def search(self, query: str) -> list[Run]:
        """All runs that a query finds, in MLflow's language of filters."""
        found, token = [], None
        while True:
            page = self.client.search_runs([self.id], query, max_results=1000, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def write(
        self,
        run_id: str,
        params: Mapping[str, Any] | None = None,
        metrics: Sequence[Metric] = (),
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes into a run, in as few requests as MLflow allows."""
        from mlflow.entities import Param, RunTag

        named = [Param(key, text(value)) for key, value in (params or {}).items()]
        tagged = [RunTag(key, cut(value)) for key, value in (tags or {}).items()]
        first, rest = metrics[:METRICS_A_BATCH], metrics[METRICS_A_BATCH:]
        if named or tagged:
            self.client.log_batch(run_id, params=named, tags=tagged)
        while first:
            self.client.log_batch(run_id, metrics=first)
            first, rest = rest[:METRICS_A_BATCH], rest[METRICS_A_BATCH:]

    def _open(self) -> Entity:
        from mlflow.exceptions import MlflowException

        experiment = self.client.get_experiment_by_name(self._name)
        if experiment is not None and self._has_moved(experiment.artifact_location):
            _move(self._root / DATABASE, experiment.artifact_location, self._place)
        if experiment is None:
            # A server decides itself where artifacts go; a database needs an absolute place.
            place = None if self.uri.startswith("http") else self._place
            try:
                return self.client.get_experiment(self.client.create_experiment(self._name, artifact_location=place))
            except MlflowException:  # another store's launch on the same server may have made it meanwhile
                experiment = self.client.get_experiment_by_name(self._name)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage == "deleted":
            self.client.restore_experiment(experiment.experiment_id)
        return experiment

    @property
    def _place(self) -> str:
        return (self._root / ARTIFACTS).as_uri()

    def _has_moved(self, place: str) -> bool:
        """Whether the store's own database came here with a store that was moved or copied, and still names the old place."""
        if self.uri != f"sqlite:///{self._root / DATABASE}" or not place.startswith("file:///"):
            return False
        old, new = Path(url2pathname(urlsplit(place).path)), self._root / ARTIFACTS
        return old.name == ARTIFACTS and not (old.exists() and new.exists() and old.samefile(new))


def _move(database: Path, old: str, new: str) -> None:
    """Lets a database name a new place of artifacts: MLflow has no call for it, and would write into the old store."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR {column} LIKE ?",
                (new, len(old) + 1, old, f"{old}/%"),
            )
