"""Listening: what the user names (files, folders, samples on standard input), looked at as a corpus' recordings are."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import soundfile

from orchestrator import audio
from orchestrator.audio import Limits
from orchestrator.inference.pcm import Pcm

STDIN = "-"
ENDINGS = frozenset(f".{name.lower()}" for name in soundfile.available_formats()) - {".raw"} | {".oga", ".opus", ".aif"}
"""Of files that are taken for audio where a folder is named."""


@dataclass(frozen=True)
class Heard:
    """A recording that has been looked at.

    Attributes:
        name: what the user calls it.
        path: of its file.
        seconds: its length, 0 where it can't be read.
        problem: why it can't be used; None for a good one.
    """

    name: str
    path: Path
    seconds: float
    problem: str | None


def look(path: Path, limits: Limits, name: str | None = None) -> Heard:
    """Decodes a recording once and says what is wrong with it, as indexing a corpus does."""
    shown = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    if shown != str(path):  # neither printed nor opened by libsndfile
        return Heard(name or shown, path, 0.0, "its name is no text in UTF-8: rename it")
    name = name or shown
    if path.is_dir():
        return Heard(name, path, 0.0, "is a folder without audio (.wav, .flac, .ogg, .mp3 …)")
    found = audio.inspect(path, min_seconds=limits.min_seconds, max_seconds=limits.max_seconds)
    return Heard(name, path, found.seconds, found.problem)


def files(named: Iterable[str]) -> list[Path]:
    """The files that are named, and all audio in the folders that are, sorted. A folder without any stands for itself."""
    found: list[Path] = []
    for path in (Path(name).expanduser() for name in named):
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
        found += inside or [path]
    return found


def hear(stream: BinaryIO, pcm: Pcm, limits: Limits, chunk: float | None = None) -> Iterator[Heard]:
    """Reads raw samples to their end, as one recording or one every `chunk` seconds, each given as soon as it is there.

    What is given can be read until the next one is asked for. What is left after the last whole chunk is one more, unless
    it is too short to be heard.
    """
    size = -1 if chunk is None else max(1, round(chunk * pcm.rate)) * pcm.frame
    start = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.wav"
        while samples := _read(stream, size):
            if start and len(samples) < limits.min_seconds * pcm.bytes_per_second:
                return
            pcm.save(samples, path)
            yield look(path, limits, name=STDIN if chunk is None else f"{STDIN}@{start / pcm.bytes_per_second:.2f}")
            start += len(samples)
            if size < 0:
                return
        if start == 0:
            yield Heard(STDIN, path, 0.0, "no samples came on standard input")


def _read(stream: BinaryIO, size: int) -> bytes:
    """So many bytes (-1: all), fewer only at the end; pipes and microphones give less at a time."""
    if size < 0:
        return stream.read()
    parts, left = [], size
    while left and (part := stream.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
