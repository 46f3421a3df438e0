"""Leases: one holder at a time, and none that is dead."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from conftest import start, wait_for

from orchestrator import lease as leases
from orchestrator.lease import Lease


def test_a_living_holder_is_waited_for(tmp_path: Path):
    def hold() -> None:
        with Lease(tmp_path / "lease"):
            (tmp_path / "held").touch()
            time.sleep(0.5)
            (tmp_path / "about to leave").touch()

    holder = start(hold)
    wait_for(tmp_path / "held")
    with Lease(tmp_path / "lease", poll_seconds=0.01):
        assert (tmp_path / "about to leave").exists()
    holder.join(10)
    assert not (tmp_path / "lease").exists()


def test_a_holder_elsewhere_is_dead_when_its_heart_stops(tmp_path: Path):
    path = tmp_path / "lease"
    path.write_text("another-machine 1 0123")
    entered = threading.Event()

    def enter() -> None:
        with Lease(path, poll_seconds=0.01):
            entered.set()

    threading.Thread(target=enter, daemon=True).start()
    assert not entered.wait(0.2)
    long_ago = time.time() - leases.DEAD_AFTER_SECONDS - 1
    os.utime(path, (long_ago, long_ago))
    assert entered.wait(10)


def test_a_heart_beats_while_the_lease_is_held_and_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)
    path = tmp_path / "lease"
    with Lease(path):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while not path.stat().st_mtime:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    path.touch()
    os.utime(path, (0, 0))
    time.sleep(0.05)
    assert path.stat().st_mtime == 0


def test_many_heirs_of_a_dead_holder_never_hold_its_lease_together(tmp_path: Path):
    """Each round begins with the lease of a process that is gone, for which all wait at the same time."""
    dead = start(lambda: None)
    dead.join(10)
    rounds = range(25)
    for n in rounds:
        (tmp_path / f"{n}").write_text(f"{os.uname().nodename} {dead.pid} 0123")

    def inherit() -> None:
        for n in rounds:
            with Lease(tmp_path / f"{n}", poll_seconds=0.0005):
                inside = tmp_path / f"{n}.inside"
                inside.touch(exist_ok=False)  # raises where another one is inside
                time.sleep(0.001)
                inside.unlink()

    heirs = [start(inherit) for _ in range(5)]
    for heir in heirs:
        heir.join(60)
    assert [heir.exitcode for heir in heirs] == [0] * 5
    assert list(tmp_path.iterdir()) == []


def test_an_heir_that_died_while_taking_over_blocks_nobody_for_ever(tmp_path: Path):
    path = tmp_path / "lease"
    path.write_text("another-machine 1 0123")
    (tmp_path / "lease.heir").touch()
    for left in (path, tmp_path / "lease.heir"):
        os.utime(left, (0, 0))
    with Lease(path, poll_seconds=0.01):
        pass
    assert list(tmp_path.iterdir()) == []
