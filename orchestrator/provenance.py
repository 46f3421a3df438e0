"""What made an artifact: library versions, git state, seconds, device and peak memory."""

from __future__ import annotations

import platform
import subprocess
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator import device

LIBRARIES = ("tokengrid", "torch", "torchaudio", "transformers", "tokenizers", "scikit-learn", "numpy", "ray", "mlflow")


class Meter:
    """Measures a build from its construction on."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = time.process_time()
        self._memory = PeakMemory()

    def reading(self) -> dict[str, Any]:
        """Wall and processor seconds since the start, the device, and the peak memory (see `PeakMemory`)."""
        return {
            "seconds": round(time.perf_counter() - self._wall, 3),
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
            "device": device.name(),
            "peak_memory_bytes": self._memory.bytes(),
        }


class PeakMemory:
    """The most memory from its construction on: allocated on the GPU where there is one, else resident in the process.

    A process that builds one thing after another keeps what libraries and allocators hold, so on a processor the number
    has a floor of some hundred megabytes that is nobody's. Of two that overlap in one process the later starts both anew.
    """

    def __init__(self) -> None:
        self._on_gpu = device.available() == "cuda"
        self._was_reset = True
        if self._on_gpu:
            import torch

            torch.cuda.reset_peak_memory_stats()
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident set size
        except OSError:
            self._was_reset = False

    def bytes(self) -> int | None:
        """The peak; None where the system can't tell that of a part of a process' life."""
        if self._on_gpu:
            import torch

            return torch.cuda.max_memory_allocated()
        if not self._was_reset:
            return None
        status = Path("/proc/self/status").read_text()
        return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), None)


@cache
def of_this_process() -> dict[str, Any]:
    """Versions of the libraries that shape results, of Python, the machine, and the git state of the code."""
    return {
        "versions": {name: _version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "git": _git(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    def ask(*words: str) -> str:
        here = Path(__file__).parent
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=10).stdout

    try:
        return {"commit": ask("rev-parse", "HEAD").strip(), "dirty": bool(ask("status", "--porcelain", "-uno").strip())}
    except (OSError, subprocess.SubprocessError):
        return None
