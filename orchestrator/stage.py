"""Stage: a cached computation. Its fields are its configuration; a field that is itself a stage is an input.

So the graph needs no second description: nesting *is* the graph, and equal identities are the same node.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from orchestrator.store import Artifact


def runtime(default: Any = dataclasses.MISSING, **options: Any) -> Any:
    """A field that says how or where a stage is computed, not what: it stays out of the identity and of equality."""
    return field(default=default, metadata={"runtime": True}, compare=False, **options)


class Progress(Protocol):
    """Called by a stage as it works: how much is done, of how much, in which unit."""

    def __call__(self, done: float, total: float, unit: str) -> None: ...


def silent(done: float, total: float, unit: str) -> None:
    """The progress that nobody watches."""


@dataclass(frozen=True)
class Build:
    """What a stage is given to work with.

    Attributes:
        folder: an existing folder to write into. It becomes the artifact when `build` returns.
        open: opens the artifact of an input.
        progress: tells how far the work is.
    """

    folder: Path
    open: Callable[[Stage], Artifact]
    progress: Progress = silent


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A computation from inputs to files. Subclasses are frozen dataclasses that set `name` and define `build`.

    Attributes:
        name: names the stage in the store, in plans and in the results.
        version: raised whenever the same configuration would give another output.
        threads: of the numerical libraries while it builds; stated, since sums depend on it.
        gpu: whether it computes faster where there is one.
        resumable: whether an interrupted build goes on from the files it left; otherwise it starts from none.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    threads: ClassVar[int] = 1
    gpu: ClassVar[bool] = False
    resumable: ClassVar[bool] = False

    @cached_property
    def identity(self) -> str:
        """16 hex digits: the hash of name, version and every field but run-time ones, inputs by their identities."""
        body = json.dumps([self.name, self.version, _fields(self)], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    @cached_property
    def inputs(self) -> tuple[Stage, ...]:
        """The stages this one reads directly, each once."""
        found = {
            stage.identity: stage
            for f in dataclasses.fields(self)
            if not f.metadata.get("runtime")
            for stage in _stages(getattr(self, f.name))
        }
        return tuple(found.values())

    @property
    def readable(self) -> str:
        """A short name for people; it is part of the artifact's folder, never of its identity."""
        return self.name

    @property
    def config(self) -> dict[str, Any]:
        """The whole configuration in plain values, inputs as `stage:identity`, run-time fields left out."""
        return _fields(self)

    def build(self, at: Build) -> None:
        """Computes the stage into `at.folder`; raises StageError where the user can mend something."""
        raise TypeError(f"the stage '{self.name}' defines no build")


def walk(*roots: Stage) -> Iterator[Stage]:
    """Yields every stage that the roots need, themselves included, each once, inputs before what reads them."""
    seen: set[str] = set()

    def visit(stage: Stage) -> Iterator[Stage]:
        if stage.identity not in seen:
            seen.add(stage.identity)
            for below in stage.inputs:
                yield from visit(below)
            yield stage

    for root in roots:
        yield from visit(root)


def canonical(value: Any) -> Any:
    """A stable JSON form of a configuration value.

    Raises:
        TypeError: the value has no stable form (a path, a set, an object, NaN): a cache key must never guess.
    """
    if isinstance(value, Stage):
        return f"{value.name}:{value.identity}"
    if value is None or (isinstance(value, (bool, int, str)) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value} has no stable form")
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (tuple, list)):
        return [canonical(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: canonical(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"is": type(value).__name__, **_fields(value)}
    raise TypeError(
        f"a {type(value).__name__} has no stable form, so it can't be part of a stage's identity: {value!r}"
    )


def _fields(value: Any) -> dict[str, Any]:
    return {
        f.name: canonical(getattr(value, f.name)) for f in dataclasses.fields(value) if not f.metadata.get("runtime")
    }


def _stages(value: Any) -> Iterator[Stage]:
    if isinstance(value, Stage):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _stages(item)
    elif isinstance(value, dict):
        yield from _stages(tuple(value.values()))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = (getattr(value, f.name) for f in dataclasses.fields(value) if not f.metadata.get("runtime"))
        yield from _stages(tuple(parts))
