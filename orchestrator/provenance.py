"""What made an artifact: library versions, git state, seconds, device and peak memory."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
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

    def reading(self) -> dict[str, Any]:
        """Wall and processor seconds since the start, the device, and the peak memory of this process so far, in bytes."""
        unit = 1 if sys.platform == "darwin" else 1024
        return {
            "seconds": round(time.perf_counter() - self._wall, 3),
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
            "device": device.name(),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        }


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
