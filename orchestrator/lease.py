"""A lease: of several processes, perhaps on several machines, one builds and the others wait for it."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType

HEARTBEAT_SECONDS = 5.0
DEAD_AFTER_SECONDS = 60.0


class Lease:
    """Holds a lease file for a `with` block, with a heartbeat; waits while a living process holds it.

    A holder is dead when its heart has not beaten for `DEAD_AFTER_SECONDS`, or at once when its process is gone from
    this machine. Only one waiting process at a time may look and take over, so a lease is never taken from the living.

    Args:
        path: the lease file, on a file system that all contenders see.
        poll_seconds: how often a waiting process looks again.
    """

    def __init__(self, path: Path, poll_seconds: float = 0.2):
        self.path = path
        self.poll_seconds = poll_seconds
        self._token = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}"
        self._stop = threading.Event()

    def __enter__(self) -> Lease:
        while not self._take():
            if self._holder_is_dead() and self._take_over():
                break
            time.sleep(self.poll_seconds)
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        try:
            if self.path.read_text() == self._token:
                self.path.unlink()
        except FileNotFoundError:
            pass

    def _take(self) -> bool:
        # Written whole under another name, then linked: the file never exists without its holder's name.
        own = self._signed()
        try:
            self.path.hardlink_to(own)
        except FileExistsError:
            return False
        finally:
            own.unlink()
        return True

    def _take_over(self) -> bool:
        right = self.path.with_name(f"{self.path.name}.heir")
        try:
            right.touch(exist_ok=False)
        except FileExistsError:
            if _age(right) > DEAD_AFTER_SECONDS:  # its process died in the lines below
                right.unlink(missing_ok=True)
            return False
        try:
            # Looked at again: another process may have taken over between the first look and this one.
            if not self._holder_is_dead():
                return False
            self._signed().replace(self.path)
            return True
        finally:
            right.unlink(missing_ok=True)

    def _signed(self) -> Path:
        own = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}")
        own.write_text(self._token)
        return own

    def _holder_is_dead(self) -> bool:
        try:
            age = _age(self.path)
            host, pid, _ = self.path.read_text().split()
        except (FileNotFoundError, ValueError):
            return False
        if host == socket.gethostname() and not _alive(int(pid)):
            return True
        return age > DEAD_AFTER_SECONDS

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                os.utime(self.path)
            except FileNotFoundError:
                return


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A killed process that its parent has not reaped is still listed; it will never beat again.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return True
