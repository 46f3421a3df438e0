"""Doctor: what this machine and a cluster have, and what is missing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from orchestrator import provenance
from orchestrator.errors import UserError
from orchestrator.store import Store

LEAST_DISK_BYTES = 5e9


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    problem: str | None = None


@dataclass(frozen=True)
class Report:
    """All findings."""

    findings: list[Finding]

    @property
    def problems(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.problem]

    def render(self) -> Table:
        """For the terminal."""
        table = Table("", "what", "found", box=None, pad_edge=False)
        for one in self.findings:
            mark = "[red]✗[/]" if one.problem else "[green]✓[/]"
            table.add_row(mark, one.what, one.found + (f"\n[red]{one.problem}[/]" if one.problem else ""))
        return table


def examine(store: str, address: str | None = None) -> Report:
    """Looks at libraries, processors, memory, GPUs, speech synthesis, the store and, with an address, the cluster."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("libraries", _libraries),
        ("processors and memory", _machine),
        ("GPU", _gpu),
        ("audio formats", _audio),
        ("speech synthesis", _synthesis),
        ("store", lambda: _store(store)),
        ("shared memory", _shared_memory),
    ]
    if address:
        checks.append(("Ray cluster", lambda: _cluster(address)))
    return Report([_check(what, look) for what, look in checks])


def _check(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, look())
    except Exception as error:  # whatever is wrong with the machine is a finding
        return Finding(
            what, "not usable", str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        )


def _libraries() -> str:
    import torch
    import torchaudio

    here = provenance.of_this_process()
    lacking = [name for name, version in here["versions"].items() if version is None and name != "tokengrid"]
    if lacking:
        raise UserError(f"missing: {', '.join(lacking)}. Install the project again: make install")
    if torch.__version__.split(".")[:2] != torchaudio.__version__.split(".")[:2]:
        raise UserError(
            f"torch {torch.__version__} and torchaudio {torchaudio.__version__} are no pair; see constraints.txt"
        )
    return f"Python {here['python']}, " + ", ".join(f"{k} {v}" for k, v in here["versions"].items() if v)


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{os.cpu_count()} processors, {memory / 1e9:.0f} GB"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none: the demo and spectral or APC encoders need none; HuBERT-size encoders want one"
    properties = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return ", ".join(f"{p.name} ({p.total_memory / 1e9:.0f} GB)" for p in properties)


def _audio() -> str:
    import soundfile

    formats = soundfile.available_formats()
    return ", ".join(name for name in ("WAV", "FLAC", "OGG", "MP3") if name in formats)


def _synthesis() -> str:
    from tasks.corpora import synthetic

    return synthetic.engine()


def _store(store: str) -> str:
    root = Store(store).root
    with tempfile.TemporaryFile(dir=root):
        free = shutil.disk_usage(root).free
    if free < LEAST_DISK_BYTES:
        raise UserError(f"only {free / 1e9:.1f} GB free on the disk of {root}")
    return f"{root}, {free / 1e9:.0f} GB free"


def _shared_memory() -> str:
    path = Path("/dev/shm")
    if not path.exists():
        return "no /dev/shm: Ray uses the disk"
    free = shutil.disk_usage(path).free
    if free < 1e9:
        raise UserError(f"only {free / 1e9:.2f} GB free in /dev/shm; in a container, give --shm-size=30% of its memory")
    return f"{free / 1e9:.0f} GB free"


def _cluster(address: str) -> str:
    from orchestrator.cluster import environment

    environment.prepare(address)
    from orchestrator.cluster import launch

    return launch.describe(address)
