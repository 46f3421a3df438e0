"""Plan: what a launch would do and cost, before it does anything. What it can't know yet, it says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from orchestrator.cell import Cell
from orchestrator.decoders import HfSpec
from orchestrator.encoders.hf import HuggingFaceSpec
from orchestrator.encoders.published import UnknownEncoder
from orchestrator.estimates import TrainingMemory, training_memories
from orchestrator.execution import todo
from orchestrator.graph import Graph
from orchestrator.monitor import clock
from orchestrator.stage import Stage, walk
from orchestrator.stages.features import Features
from orchestrator.stages.scoring import Scoring
from orchestrator.stages.training import Training
from orchestrator.stages.units import Units
from orchestrator.store import Store

ROUGH_SECONDS = {
    "recordings": 30.0,
    "pretraining": 60.0,
    "sample": 10.0,
    "codebook": 3.0,
    "features": 15.0,
    "units": 10.0,
    "bpe": 5.0,
    "analysis": 2.0,
    "training": 40.0,
    "scoring": 4.0,
}
"""Seconds a stage of the demo takes on a laptop. Used, and named rough, until the store has measured its own; of stages
with a checkpoint, which may take hours, nothing is told until then."""
UNIT_BYTES = 6
"""A unit (uint16) and its run length (uint32)."""


@dataclass(frozen=True)
class Line:
    """Stages of one name: how many the cells need, how many are there, and the cost of the rest.

    Attributes:
        seconds: of a core, or of a GPU; None where nothing alike has been measured.
        measured: by the store, not by another machine's demo.
        on_gpu: whether those that were measured ran on a GPU.
        bytes: on the disk; None where it can't be told yet.
    """

    stage: str
    needed: int
    cached: int
    seconds: float | None
    measured: bool
    on_gpu: bool
    bytes: float | None

    @property
    def time(self) -> str:
        """For the table."""
        if self.seconds is None:
            return "?"
        return ("" if self.measured else "~ ") + clock(self.seconds) + (" of a GPU" if self.on_gpu else "")


@dataclass(frozen=True)
class Plan:
    """What a launch would do.

    Attributes:
        cells, finished: how many cells there are, and how many of them have their result.
        hours: of audio by corpus; None where nobody has measured it yet.
        quarantined: recordings left out, by corpus.
        unknown: corpora that have not been indexed, so that nothing that depends on them can be found in the store.
        absent: checkpoints that are not at hand, each with the reason.
        lines: by stage name, in the order of the work.
        memories: of the largest training with each decoder and recipe.
    """

    space: str
    cells: int
    finished: int
    hours: dict[str, float | None]
    quarantined: dict[str, int]
    unknown: list[str]
    absent: dict[str, str]
    lines: list[Line]
    memories: list[TrainingMemory]

    @property
    def seconds(self) -> float:
        """Core-seconds of all that is not there yet, where they can be told."""
        return sum(line.seconds or 0 for line in self.lines if not line.on_gpu)

    @property
    def gpu_seconds(self) -> float:
        """The same of what the store has measured on a GPU."""
        return sum(line.seconds or 0 for line in self.lines if line.on_gpu)

    @property
    def bytes(self) -> float:
        """Disk for features and units that are not there yet, where it can be told."""
        return sum(line.bytes or 0 for line in self.lines)

    def render(self) -> Group:
        """For the terminal."""
        table = Table("stage", "needed", "cached", "to build", "time", "disk", box=None, pad_edge=False)
        for line in self.lines:
            build = line.needed - line.cached
            disk = "" if not build else "?" if line.bytes is None else size(line.bytes)
            time = line.time if build else ""
            table.add_row(line.stage, str(line.needed), str(line.cached), str(build), time, disk)
        head = f"{self.space}: {self.cells} cells, {self.finished} finished, {self.cells - self.finished} to run"
        notes = [*self._corpora(), *self._checkpoints(), *map(_memory, self.memories), self._time()]
        return Group(Text(head, style="bold"), table, *map(Text, notes))

    def _corpora(self) -> list[str]:
        notes = [
            f"corpus {name}: "
            + ("hours unknown until its audio is made or indexed" if hours is None else f"{hours:.2f} h of audio")
            + (f", {self.quarantined[name]} recordings quarantined" if self.quarantined.get(name) else "")
            for name, hours in self.hours.items()
        ]
        return notes + [
            f"corpus {name} is not indexed yet: what the store already has of it can't be told" for name in self.unknown
        ]

    def _checkpoints(self) -> list[str]:
        notes = [f"checkpoint {name} is not at hand: {reason}" for name, reason in self.absent.items()]
        if notes:
            notes.append("what the store already has of cells with these can't be told, and none of them can run here")
        return notes

    def _time(self) -> str:
        parts = []
        if self.seconds or not self.gpu_seconds:
            parts.append(f"about {clock(self.seconds)} of one core, {clock(self.seconds / 2)} on two")
        if self.gpu_seconds:
            parts.append(f"about {self.gpu_seconds / 3600:.1f} GPU-hours")
        if any(line.seconds and not line.measured for line in self.lines):
            parts.append("(~ rough: measured on another machine's demo)")
        if any(line.seconds is None for line in self.lines):
            parts.append("and what has a ?: nothing like it has been measured in this store yet")
        return " ".join(parts)


def make_plan(graph: Graph, store: Store, cells: Sequence[Cell]) -> Plan:
    """Compares a graph with the store. Reads no audio and builds nothing."""
    plan = todo(graph, store, cells, verify=False, measured=False)
    build = {s.identity for work in plan.works for s in work.stages}
    build |= {s.identity for cell in plan.cells for s in _own(graph.scorings[cell]) if not store.has(s)}
    used = {c.corpus for c in cells} | {c.codebook_corpus for c in cells if c.codebook_corpus}
    roots = [graph.scorings[cell] for cell in cells] + [graph.analyses[c] for c in cells if c in graph.analyses]
    stages = [s for s in walk(*roots) if s not in graph.leaves]
    hours = {name: corpus.hours for name, corpus in graph.corpora.items() if name in used}
    seconds = {corpus.recordings.identity: (hours[n] or 0) * 3600 for n, corpus in graph.corpora.items() if n in used}
    needed = Counter(stage.name for stage in stages)
    lines = []
    for name in ROUGH_SECONDS:
        if needed[name]:
            missing = [s for s in stages if s.name == name and s.identity in build]
            each, measured, on_gpu = _measured(store, missing)
            time = None if each is None else each * len(missing)
            sizes = [_bytes(stage, seconds) for stage in missing]
            known = None if any(size is None for size in sizes) else sum(size or 0 for size in sizes)
            lines.append(Line(name, needed[name], needed[name] - len(missing), time, measured, on_gpu, known))
    trainings = {cell: graph.scorings[cell].training for cell in cells}
    return Plan(
        space=graph.space.name,
        cells=len(cells),
        finished=plan.finished,
        hours=hours,
        quarantined={name: len(graph.corpora[name].quarantine) for name in hours},
        unknown=[name for name in hours if not graph.corpora[name].is_known],
        absent=graph.absent,
        lines=lines,
        memories=training_memories(trainings, store.root / "memory"),
    )


def _own(scoring: Scoring) -> tuple[Training, Scoring]:
    return scoring.training, scoring


def _measured(store: Store, stages: Sequence[Stage]) -> tuple[float | None, bool, bool]:
    """Seconds of such a stage, whether they were measured, and on a GPU.

    They are the median of those in the store with the same encoder or decoder, else rough, else unknown.
    """
    if not stages:
        return 0.0, True, False
    name = stages[0].name
    alike = [_scale(stage.config) for stage in stages]
    annotated = {stage.config.get("annotations") for stage in stages}
    found, devices = [], Counter[str]()
    for path in (store.root / "store" / name).glob("*/artifact.json"):
        try:
            manifest = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            continue  # torn: it will be made again
        if _scale(manifest["config"]) in alike and manifest["config"].get("annotations") in annotated:
            found.append(manifest["seconds"])
            devices[manifest.get("device", "cpu")] += 1
    if found:
        return median(found), True, devices.most_common(1)[0][0] != "cpu"
    return (None if any(map(_is_large, walk(*stages))) else ROUGH_SECONDS[name]), False, False


def _is_large(stage: Stage) -> bool:
    """Whether it computes with a checkpoint."""
    parts = (getattr(stage, "encoder", None), getattr(stage, "decoder", None))
    return any(isinstance(part, (HuggingFaceSpec, UnknownEncoder, HfSpec)) for part in parts)


def _scale(config: dict[str, Any]) -> dict[str, Any]:
    """What of a configuration decides how long it takes, roughly."""
    keys = ("recordings", "encoder", "decoder", "recipe", "preset", "hidden", "layers")
    return {key: config[key] for key in keys if key in config}


def _bytes(stage: Stage, seconds: dict[str, float]) -> float | None:
    """Bytes of an artifact; None where it depends on audio that nobody has measured. Small ones count as nothing."""
    if not isinstance(stage, (Features, Units)):
        return 0.0
    audio = seconds.get(stage.recordings.identity)
    if not audio:
        return None
    frames = audio * stage.encoder.frame_rate
    if isinstance(stage, Units):
        return frames * UNIT_BYTES
    return frames * stage.encoder.dimension_of(stage.layer) * 2 or None  # no dimension: the checkpoint is not at hand


def _memory(told: TrainingMemory) -> str:
    about = f"memory of {told.decoder} with recipe {told.recipe}: "
    if told.memory is None:
        return about + told.verdict
    large = ", ".join(f"{name} {size(count)}" for name, count in list(told.memory.parts.items())[:3])
    least = "at least " if told.is_partial else ""
    return f"{about}{least}{size(told.memory.bytes)} with {told.positions} positions at once ({large}): {told.verdict}"


def size(count: float) -> str:
    """As people read it: `12 MB`, `1.9 GB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB" if count < 1000 else f"{count / 1000:.1f} TB"
