"""Monitor: what a launch is doing, how far it is and how long still. Bars on a terminal, plain lines in a log."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.store import write_atomically

Kind = Literal["index", "stage", "cell"]
PLAIN_SECONDS = 15.0
"""How often a log gets a line about what is still running."""


@dataclass
class Watched:
    """Something that is running. Calling it reports progress, as `stage.Progress` wants it."""

    name: str
    kind: Kind
    since: float = field(default_factory=time.monotonic)
    done: float = 0.0
    total: float = 0.0
    unit: str = ""
    reason: str | None = None

    def __call__(self, done: float, total: float, unit: str) -> None:
        self.done, self.total, self.unit = done, total, unit

    @property
    def seconds(self) -> float:
        """Since it started."""
        return time.monotonic() - self.since

    @property
    def left(self) -> float | None:
        """Seconds still to go, at the pace so far; None where that can't be told."""
        return self.seconds * (self.total - self.done) / self.done if self.done > 0 and self.total > 0 else None

    def describe(self) -> str:
        """`45 % of 3120 seconds of audio, 0:34 left`."""
        if not self.total:
            return "running"
        text = f"{100 * self.done / self.total:.0f} % of {self.total:.0f} {self.unit}"
        return text + (f", {clock(self.left)} left" if self.left is not None and self.done < self.total else "")


class Monitor:
    """Follows a launch. Safe to call from several threads.

    Args:
        console: where to show it; bars only where it is a terminal.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True)
        self._lock = threading.RLock()
        self._running: dict[str, Watched] = {}
        self._totals = {"index": 1, "stage": 0, "cell": 0}
        self._ended = {"index": 0, "stage": 0, "cell": 0}
        self._bad = {"index": 0, "stage": 0, "cell": 0}
        self._first_cell: float | None = None
        self._since = time.monotonic()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Monitor:
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    def begin(self, works: int, cells: int, finished: int) -> None:
        """Says what a launch has to do."""
        with self._lock:
            self._totals |= {"stage": works, "cell": cells}
            self._since = time.monotonic()
        cached = f", {finished} finished before" if finished else ""
        self.say(f"{works} shared stages to build, {cells} cells to run{cached}")

    def say(self, text: str, style: str = "") -> None:
        """Prints a line, above the bars where there are any."""
        self.console.print(
            f"[dim]{clock(time.monotonic() - self._since)}[/dim] [{style or 'none'}]{escape(text)}[/]",
            highlight=False,
            soft_wrap=True,
        )

    def start(self, name: str, kind: Kind) -> Watched:
        """Something begins to run."""
        with self._lock:
            watched = self._running.setdefault(name, Watched(name, kind))
            if kind == "cell" and self._first_cell is None:
                self._first_cell = time.monotonic()
        if not self.console.is_terminal:
            self.say(f"{kind} {name}: started")
        return watched

    def end(self, name: str, kind: Kind, reason: str | None = None) -> None:
        """Something ended, well or with a reason."""
        with self._lock:
            watched = self._running.pop(name, None) or Watched(name, kind)
            self._ended[kind] += 1
            self._bad[kind] += reason is not None
            count = f"[{self._ended[kind]}/{self._totals[kind]}]"
        if reason is None:
            self.say(f"{count} {kind} {name}: done in {clock(watched.seconds)}{self._outlook(kind)}", "green")
        else:
            self.say(f"{count} {kind} {name}: failed: {reason}", "red")

    def skip(self, name: str, kind: Kind) -> None:
        """Something can't run, since what it needs failed."""
        self.end(name, kind, "what it needs failed")

    @contextmanager
    def watch(self, name: str, kind: Kind) -> Iterator[Watched]:
        """Follows a piece of work in this process; set `.reason` where it failed."""
        watched = self.start(name, kind)
        yield watched
        self.end(name, kind, watched.reason)

    def update(self, name: str, done: float, total: float, unit: str) -> None:
        """Progress of something that runs elsewhere."""
        with self._lock:
            if name in self._running:
                self._running[name](done, total, unit)

    def _outlook(self, kind: Kind) -> str:
        """Time left for all cells, from the pace of those that ended."""
        ended, total = self._ended["cell"], self._totals["cell"]
        if kind != "cell" or not 0 < ended < total or self._first_cell is None:
            return ""
        return f", about {clock((time.monotonic() - self._first_cell) / ended * (total - ended))} left for {total - ended} cells"

    def _show(self) -> None:
        if self.console.is_terminal:
            with Live(console=self.console, refresh_per_second=4, transient=True, get_renderable=self._bars):
                self._stop.wait()
            return
        while not self._stop.wait(PLAIN_SECONDS):
            with self._lock:
                running = [w for w in self._running.values() if w.seconds > PLAIN_SECONDS]
            for watched in running:
                self.say(f"{watched.kind} {watched.name}: {watched.describe()}")

    def _bars(self) -> Group:
        with self._lock:
            running = list(self._running.values())
            summary = [
                f"{kind}s {self._ended[kind]}/{self._totals[kind]}"
                + (f" ({self._bad[kind]} failed)" if self._bad[kind] else "")
                for kind in ("stage", "cell")
                if self._totals[kind]
            ]
        summary.append(f"{clock(time.monotonic() - self._since)} so far{self._outlook('cell')}")
        table = Table.grid(padding=(0, 1))
        for watched in running:
            share = watched.done if watched.total else None
            bar = ProgressBar(total=watched.total or None, completed=share or 0, width=24, pulse=not watched.total)
            table.add_row(Text(watched.name), bar, Text(watched.describe(), style="cyan"))
        return Group(table, Text(", ".join(summary), style="bold"))


class ProgressFile:
    """Progress across processes: a worker writes it, throttled; the driver reads it."""

    def __init__(self, path: Path, every_seconds: float = 1.0):
        self._path = path
        self._every = every_seconds
        self._last = 0.0

    def __call__(self, done: float, total: float, unit: str) -> None:
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            write_atomically(self._path, json.dumps([done, total, unit]))


def read_progress(path: Path) -> tuple[float, float, str] | None:
    """What a worker last wrote, if anything."""
    try:
        done, total, unit = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return done, total, unit


def clock(seconds: float | None) -> str:
    """`1:02:03`, or `2:03` below an hour."""
    text = str(timedelta(seconds=round(seconds or 0)))
    return text.removeprefix("0:").removeprefix("0") if text.startswith("0:0") else text.removeprefix("0:")
