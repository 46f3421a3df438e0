"""Launches: the store remembers each, so that what a tracking server has missed can be told it later."""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from orchestrator.store import write_atomically


@dataclass(frozen=True)
class Launch:
    """A launch of a space on a store.

    Attributes:
        id: letters, digits and dashes; two launches at the same time never have the same.
        space: its name.
        cells: how many it was of.
        local: whether it ran in one process.
        started, ended: in seconds since 1970; `ended` is None while it runs, or where it was killed.
        interrupted: whether it ended before its time.
        host, pid: the process that launches.
    """

    id: str
    space: str
    cells: int
    local: bool
    started: float
    ended: float | None = None
    interrupted: bool = False
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)

    @classmethod
    def begin(cls, root: Path, space: str, cells: int, local: bool) -> Launch:
        """A new launch, remembered under the state folder `root`."""
        now = time.time()
        name = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{uuid.uuid4().hex[:4]}"
        launch = cls(name, space, cells, local, now)
        launch.remember(root)
        return launch

    def end(self, root: Path, interrupted: bool) -> Launch:
        """The launch with its end, remembered."""
        launch = replace(self, ended=time.time(), interrupted=interrupted)
        launch.remember(root)
        return launch

    def remember(self, root: Path) -> None:
        """Writes it into the store."""
        write_atomically(_file(root, self.id), json.dumps(asdict(self)))

    def forget(self, root: Path) -> None:
        """As if it had never begun."""
        _file(root, self.id).unlink(missing_ok=True)

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or was killed on this machine; of another machine's process nothing is known."""
        if self.ended is not None or self.host != socket.gethostname():
            return self.ended is not None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False

    @property
    def params(self) -> dict[str, object]:
        """How it was launched, as its run in MLflow shows it."""
        return {"space": self.space, "cells": self.cells, "local": self.local}


def launches(root: Path, space: str) -> list[Launch]:
    """The launches of a space that a store remembers, the oldest first."""
    found = [Launch(**json.loads(path.read_text("utf-8"))) for path in (root / "launches").glob("*.json")]
    return sorted((launch for launch in found if launch.space == space), key=lambda launch: launch.started)


def _file(root: Path, name: str) -> Path:
    return root / "launches" / f"{name}.json"
