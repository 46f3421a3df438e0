"""A tiny space over the smoke corpus, launches of it in processes that may be killed, and what of a result must not change."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.grid import Grid
from orchestrator.monitor import Kind, Monitor, Watched
from orchestrator.space import Space
from orchestrator.space_file import parse
from orchestrator.store import Store

SHARED = ("recordings", "pretraining", "sample", "codebook", "features", "units", "bpe", "analysis")


def tiny(name: str = "tiny", **changes: Any) -> Space:
    """Six cells that take a second each: two tasks, every kind of features. `changes` go into its only block."""
    return parse({**content(**changes), "name": name})


def content(**changes: Any) -> dict[str, Any]:
    """The same as the content of a space file. Its recipes: `small`, and `wild`, with which nothing stays finite."""
    grid = {
        "task": ["keyword", "intent"],
        "corpus": "spoken",
        "encoder": "apc",
        "layer": 1,
        "features": [{"kind": "continuous", "downsample": 4}, {"kind": "discrete", "codebook": 12, "bpe": 24}, "none"],
        "decoder": "tiny",
        "recipe": "small",
    }
    return {
        "corpora": {"spoken": {"reader": "synthetic", "preset": "smoke"}},
        "encoders": {"apc": {"kind": "apc", "hidden": 16, "layers": 1, "steps": 4, "batch_seconds": 20}},
        "decoders": {
            "tiny": {"kind": "tiny", "hidden": 16, "layers": 1, "heads": 1, "kv_heads": 1, "intermediate": 32}
            | {"text_vocabulary": 280}
        },
        "recipes": {
            "small": {"batch": 16, "learning_rate": 1e-3, "max_epochs": 3, "patience": 9},
            "wild": {"batch": 16, "learning_rate": 1e30, "warmup_steps": 0, "max_epochs": 3},
        },
        "sample": {"frames": 4000},
        "grid": [grid | changes],
    }


def timeless(matrix: Any) -> list[dict[str, Any]]:
    """The records of a matrix as strict JSON without what depends on the clock."""
    return json.loads(json.dumps([_timeless(record) for record in json.loads(matrix.to_json())["cells"]]))


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        clock = {k for k in value if "seconds" in k} | {"trials_at_once", "peak_memory_bytes", "stages"}
        clock |= {"inference", "rtf", "rtf_batched"}
        return {k: _timeless(v) for k, v in value.items() if k not in clock}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def artifacts(store: Store | Path) -> dict[str, dict[str, Any]]:
    """Folder → manifest of every artifact of a store."""
    root = store.root if isinstance(store, Store) else store
    found = sorted((root / "store").glob("*/*/artifact.json"))
    return {f"{path.parent.parent.name}/{path.parent.name}": json.loads(path.read_text("utf-8")) for path in found}


def contents(store: Store | Path) -> dict[tuple[str, str], str]:
    """(identity, file) → checksum, of every file of every artifact but those that hold seconds."""
    timed = ("training.json", "curve.json", "metrics.json", "inference.json", "checkpoint/")
    return {
        (one["identity"], name): file["xxh3"]
        for one in artifacts(store).values()
        for name, file in one["files"].items()
        if not name.startswith(timed)
    }


def leftovers(store: Store | Path) -> list[str]:
    """Half-made folders, leases and temporary files in a store: none after a launch that ended well."""
    root = store.root if isinstance(store, Store) else store
    ends = (".partial", ".lease", ".tmp")
    found = [p for p in (root / "store").rglob("*") if p.name.endswith(ends) or p.name.startswith(".bad")]
    return sorted(p.relative_to(root).as_posix() for p in found)


class Log(Monitor):
    """A monitor that writes its lines into a text, and knows which work was really done in this process."""

    def __init__(self) -> None:
        super().__init__(Console(file=io.StringIO(), width=400))
        self.worked: dict[str, float] = {}

    @property
    def text(self) -> str:
        """All lines."""
        return self.console.file.getvalue()

    @contextmanager
    def watch(self, name: str, kind: Kind) -> Iterator[Watched]:
        """As in a monitor; work that reports progress is noted."""
        with super().watch(name, kind) as watched:
            yield watched
        if watched.done:
            self.worked[name] = watched.done


class Deadly(Log):
    """A monitor that kills its process, as `kill -9` does, once work whose name begins with `at` has done `done`."""

    def __init__(self, at: str, done: float):
        super().__init__()
        self._at, self._done = at, done

    def start(self, name: str, kind: Kind) -> Watched:
        """Work named so is given a fuse."""
        watched = super().start(name, kind)
        if not name.startswith(self._at):
            return watched
        fused = Fused(watched.name, kind)
        fused.fuse = self._done
        self._running[name] = fused
        return fused


class Fused(Watched):
    """Progress that ends the process."""

    fuse: float = 0.0

    def __call__(self, done: float, total: float, unit: str) -> None:
        if done >= self.fuse:
            os.kill(os.getpid(), signal.SIGKILL)


def launch_and_die(space: Space, root: Path, at: str, done: float) -> None:
    """For a process of its own: a local launch that is killed half-way."""
    import torch

    torch.set_num_threads(1)
    Grid(space, root).run(local=True, monitor=Deadly(at, done), track=False)


def launch_and_note(space: Space, root: Path, note: Path) -> None:
    """For a process of its own: a local launch; what it worked on goes into a file."""
    import torch

    torch.set_num_threads(1)
    log = Log()
    matrix = Grid(space, root).run(local=True, monitor=log)
    note.write_text(json.dumps({"worked": sorted(log.worked), "counts": matrix.counts()}), "utf-8")


def process(target: Callable[..., None], *arguments: Any) -> multiprocessing.process.BaseProcess:
    """Starts a function in a clean process: forked from one that has imported much and computed nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["grid_material", "orchestrator.tracking", "transformers.models.qwen2"])
    one = context.Process(target=target, args=arguments)
    one.start()
    return one
