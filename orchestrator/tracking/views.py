"""Views: what MLflow's page of an experiment shows. They are listed in its menu *Views*, and each has an address.

MLflow 3 keeps a view of an experiment's page as JSON in a tag of the experiment, `mlflow.sharedViewState.<id>`: filters,
order, columns and charts. Left to itself, the page folds the cells of a launch away, so that its charts are empty;
unfolded, it draws one chart for each metric in the order of their names, over the ten newest runs of all tasks together.
A newer MLflow that doesn't know these tags any more shows that page again: nothing else depends on them.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from orchestrator.cell import Cell
from orchestrator.tracking.client import connect
from orchestrator.tracking.tags import CELL
from orchestrator.tracking.values import param, task_metric
from tasks.metrics import direction

TAG = "mlflow.sharedViewState."
OTHERS = ("comparison", "cost", "curve", "dev", "interval", "progress", "test")
"""Sections for metrics that a view has no chart of: there, and folded."""
AXES = ("progress/epoch", "progress/tokens", "progress/seconds")
COSTS = ("cost/bits_per_second", "cost/train_seconds", "cost/tokens")
OVERVIEW = "All tasks"
CARD_HEIGHT = 380
"""Pixels."""
WHERE = ("task", "variant", "corpus")
"""Coordinates that make a column of the matrix."""


@dataclass(frozen=True)
class View:
    """A view of an experiment's page.

    Attributes:
        id: in the address.
        name: in the menu.
        state: as MLflow's page keeps it.
    """

    id: str
    name: str
    state: Mapping[str, Any]

    @property
    def tag(self) -> tuple[str, str]:
        """The experiment's tag. Its time is fixed, so that the same view is the same tag."""
        packed = base64.b64encode(zlib.compress(json.dumps(self.state).encode(), 9)).decode()
        envelope = {"name": self.name, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"}
        return f"{TAG}{self.id}", json.dumps(envelope, ensure_ascii=False)

    def address(self, server: str, experiment: str) -> str:
        """The address of the view, on a server such as `http://127.0.0.1:5000`."""
        query = f"compareRunsMode=CHART&workflowType=machine_learning&viewStateShareKey={quote(self.id)}"
        return f"{server.rstrip('/')}/#/experiments/{quote(experiment)}/runs?{query}"


def views(records: Sequence[Mapping[str, Any]]) -> list[View]:
    """The views of a space: all its columns together, then each one by itself.

    Args:
        records: coordinates and `primary` of every cell.
    """
    columns: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        columns.setdefault(tuple(record[name] for name in WHERE), []).append(record)
    found = [_overview(list(columns.values()))] if len(columns) > 1 else []
    return found + [_of_column(cells) for cells in columns.values()]


def _overview(columns: Sequence[Sequence[Mapping[str, Any]]]) -> View:
    scores, curves = _Section("Scores on the first test set", 2), _Section("Learning curves of all tasks", 2)
    charts = [scores.bar(task_metric(cells[0]), _title(cells[0])) for cells in columns]
    charts += [curves.line("curve/dev_error", "progress/epoch"), curves.line("curve/train_loss", "progress/epoch")]
    state = _state(f"tags.`{CELL}` != ''", "tags.`mlflow.runName`", True, charts, [scores, curves])
    return View("all-tasks", OVERVIEW, state | {"selectedColumns": _columns([c for cs in columns for c in cs])})


def _of_column(cells: Sequence[Mapping[str, Any]]) -> View:
    first = cells[0]
    metric, title = task_metric(first), _title(first)
    scores, influence = _Section(f"{title}: score and cost", 2), _Section(f"{title}: what goes with a good score", 1)
    curves, costs = _Section(f"{title}: learning curves", 2), _Section(f"{title}: score against cost", 2)
    varying = [name for name in Cell.__dataclass_fields__ if name not in WHERE and _matters(cells, name)]
    charts = [scores.bar(metric, title), scores.bar("cost/train_seconds", "training, seconds")]
    charts += [curves.line("curve/dev_error", axis) for axis in AXES]
    charts += [curves.line("curve/train_loss", "progress/epoch")]
    charts += [influence.parallel(varying, [metric])] if varying else []
    charts += [costs.scatter(cost, metric) for cost in COSTS]
    query = " and ".join([*(_is(name, param(name, first[name])) for name in WHERE), f"tags.`{CELL}` != ''"])
    best_first = direction(first["primary"]) < 0
    state = _state(query, f"metrics.`{metric}`", best_first, charts, [scores, influence, curves, costs])
    return View(title.replace(" ", "-"), title, state | {"selectedColumns": _columns(cells, metric)})


class _Section:
    """A section of charts. Its id and those of its charts are their names: the same space has the same views."""

    def __init__(self, name: str, columns: int = 3):
        self.name = name
        self._columns = columns
        self.id = f"tokengrid-{name.replace(' ', '-')}"

    def bar(self, metric: str, title: str) -> dict[str, Any]:
        return self._chart("BAR", metric) | {"metricKey": metric, "displayName": title, "runsCountToCompare": 100}

    def line(self, metric: str, axis: str) -> dict[str, Any]:
        x = {
            "xAxisKey": "metric",
            "selectedXAxisMetricKey": axis,
            "useGlobalXaxisKey": False,
            "xAxisScaleType": "linear",
        }
        y = {"yAxisKey": "metric", "yAxisExpressions": [], "scaleType": "linear", "range": {}, "ignoreOutliers": False}
        smooth = {"lineSmoothness": 0, "useGlobalLineSmoothing": False}
        name = f"{metric.partition('/')[2]} over {axis.partition('/')[2]}"
        shown = {"metricKey": metric, "selectedMetricKeys": [metric], "displayName": name}
        return self._chart("LINE", name) | shown | x | y | smooth

    def scatter(self, x: str, y: str) -> dict[str, Any]:
        axes = {"xaxis": {"key": x, "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
        return self._chart("SCATTER", x) | axes

    def parallel(self, params: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
        chosen = {"selectedParams": list(params), "selectedMetrics": list(metrics), "showAllRuns": True}
        return self._chart("PARALLEL", "parallel") | chosen

    def _chart(self, kind: str, name: str) -> dict[str, Any]:
        place = {"uuid": f"{self.id}-{kind}-{name}", "metricSectionId": self.id}
        return {"type": kind, **place, "runsCountToCompare": 100, "deleted": False, "isGenerated": False}

    def content(self, display: bool) -> dict[str, Any]:
        size = {"columns": self._columns, "cardHeight": CARD_HEIGHT}
        return {"uuid": self.id, "name": self.name, "display": display, "isReordered": True, **size}


def _state(
    query: str, order: str, ascending: bool, charts: list[dict[str, Any]], sections: Sequence[_Section]
) -> dict[str, Any]:
    """What the page keeps. Ordered by anything but time it shows a flat list; a tree would fold the cells away."""
    folded = [_Section(name) for name in (*OTHERS, "Model metrics", "System metrics")]
    return {
        "searchFilter": query,
        "orderByKey": order,
        "orderByAsc": ascending,
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
        "compareRunCharts": charts,
        "compareRunSections": [s.content(True) for s in sections] + [s.content(False) for s in folded],
    }


def _columns(cells: Sequence[Mapping[str, Any]], metric: str = "primary") -> list[str]:
    """Columns of the table: what tells runs apart, the score, what it costs."""
    varying = [f"params.`{name}`" for name in Cell.__dataclass_fields__ if _matters(cells, name)]
    measured = [metric, "interval/low", "interval/high", "baseline", *COSTS[:2]]
    return [*varying, *(f"metrics.`{name}`" for name in measured), "attributes.`Duration`"]


def _matters(cells: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether a coordinate tells more than the kind of features does: where codebooks are all of one seed, that is none."""
    kinds = {cell["features"] for cell in cells}
    return name == "features" or any(_varies([c for c in cells if c["features"] == kind], name) for kind in kinds)


def _is(name: str, value: str) -> str:
    """A condition in MLflow's language of filters. It can't quote an apostrophe: any sign may stand in its place."""
    asked, sign = (value.replace("'", "_"), "LIKE") if "'" in value else (value, "=")
    return f"params.`{name}` {sign} '{asked}'"


def _varies(cells: Sequence[Mapping[str, Any]], name: str) -> bool:
    return len({json.dumps(cell[name]) for cell in cells}) > 1


def _title(record: Mapping[str, Any]) -> str:
    return task_metric(record).partition("/")[2]


@dataclass(frozen=True)
class Link:
    """Where a view of a space can be seen."""

    space: str
    view: str
    address: str


def links(uri: str, server: str) -> list[Link]:
    """All views of all spaces that MLflow has in `uri`, shown by the server at this address; the most telling first.

    The addresses say that this is about training: MLflow 3's own pages open on traces of language-model applications.
    """
    client = connect(uri)
    found = []
    for experiment in client.search_experiments():
        for key, value in experiment.tags.items():
            if key.startswith(TAG):
                view = View(key.removeprefix(TAG), json.loads(value)["name"], {})
                found.append(Link(experiment.name, view.name, view.address(server, experiment.experiment_id)))
    return sorted(found, key=lambda link: (link.space, link.view != OVERVIEW, link.view))
