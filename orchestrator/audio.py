"""Audio: any recording in, 16 kHz mono out; what is wrong with a recording; the index of a corpus.

soundfile decodes (WAV, FLAC, Ogg Vorbis and Opus, MP3, AIFF, …; parts of files too), torchaudio resamples.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from orchestrator.errors import StageError
from orchestrator.inspection import Inspection, Key, remember, remembered
from orchestrator.stage import Progress, silent
from orchestrator.store import checksum

SAMPLE_RATE = 16_000
"""Hz. Every encoder gets its audio at this rate."""

SILENCE = 1e-4
"""Full scale is 1: a recording whose loudest sample is below this holds no speech (−80 dBFS)."""

TOLERANCE = 0.1
"""Seconds by which the end of a segment may lie beyond the end of its file: annotations are rounded."""

FLUSH = 1000
"""Files after which the index is written down: what an interruption costs at most."""

BLOCK = 1 << 18
"""Frames decoded at a time while inspecting: an hour-long file needs no more memory than a short one."""


class AudioError(StageError):
    """A recording can't be read."""


@dataclass(frozen=True)
class Limits:
    """Which recordings are used, alike for every cell.

    Attributes:
        min_seconds, max_seconds: shorter and longer recordings are left out.
        max_broken: the share of damaged recordings above which indexing fails.
    """

    min_seconds: float = 0.1
    max_seconds: float = 30.0
    max_broken: float = 0.05

    def problem(self, seconds: float) -> str | None:
        """What is wrong with a length, in words; None if nothing."""
        if seconds < self.min_seconds:
            return f"is too short: {seconds:.3f} s, at least {self.min_seconds:g} s are needed"
        if seconds > self.max_seconds:
            return f"is too long: {seconds:.1f} s, at most {self.max_seconds:g} s are used"
        return None


def read(path: Path | str, start: float | None = None, seconds: float | None = None) -> np.ndarray:
    """Decodes a recording, or a segment of it.

    Args:
        path: of the file, at any sample rate and with any number of channels (their mean is taken).
        start: where the segment begins, in seconds; None (or NaN, as in a frame) for the beginning.
        seconds: its length; None (or NaN) for all that follows.

    Returns:
        float32 [samples] at 16 kHz.

    Raises:
        AudioError: there is no such file, it isn't audio, it is damaged, or it holds no sample there.
    """
    start, seconds = _number(start), _number(seconds)
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            first, count = _span(file, start, seconds)
            file.seek(first)
            wave = file.read(count, dtype="float32", always_2d=True).mean(axis=1)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(f"{path} can't be read as audio: {_reason(error, path)}. Convert or remove it.") from error
    if not len(wave):
        raise AudioError(f"{path} holds no audio after {start or 0:g} s. Remove it, or mend where its segment starts.")
    return _resampled(wave, rate)


def inspect(
    path: Path | str,
    start: float | None = None,
    seconds: float | None = None,
    min_seconds: float = Limits.min_seconds,
    max_seconds: float = Limits.max_seconds,
) -> Inspection:
    """Decodes a recording once, whole, and says what it is and what is wrong with it. Never raises for a bad file."""
    found = next(examine(path, [(start, seconds)]))
    return replace(found, problem=found.problem or Limits(min_seconds, max_seconds).problem(found.seconds))


def examine(path: Path | str, spans: list[tuple[float | None, float | None]]) -> Iterator[Inspection]:
    """Inspects segments (start, seconds) of one file, whose bytes are hashed once. Lengths are not judged here."""
    try:
        digest = checksum(Path(path))
    except OSError as error:
        yield from (Inspection("", problem=f"can't be read: {_reason(error, path)}") for _ in spans)
        return
    for start, seconds in spans:
        try:
            with soundfile.SoundFile(path) as file:
                known = Inspection(digest, rate=file.samplerate, channels=file.channels)
                yield _decoded(file, known, start, seconds)
        except (soundfile.SoundFileError, OSError) as error:
            yield Inspection(digest, problem=f"is not audio that can be read: {_reason(error, path)}")


def index(
    table: pd.DataFrame,
    cache: Path,
    limits: Limits | None = None,
    progress: Progress = silent,
    workers: int | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Inspects every recording of a corpus, in parallel; each file once for ever, unless it changes.

    Args:
        table: columns id, audio (path), start and seconds (None, or a segment).
        cache: a folder of Parquet files; each launch adds its own, so that several may work at once.
        limits: which recordings are used.
        progress: told of the files inspected.
        workers: threads (decoding and hashing leave Python's lock); None for one a processor.

    Returns:
        The good recordings (id, audio, start or NaN, seconds after decoding, hash), and the quarantine (id, audio,
        start, seconds, reason, broken: damaged rather than outside the limits of length), both in the table's order.

    Raises:
        StageError: no recording is left, or more than `limits.max_broken` of them are damaged.
    """
    limits = limits or Limits()
    spans = [(str(row.audio), _number(row.start), _number(row.seconds)) for row in table.itertuples()]
    keys, known = _inspections(spans, cache, progress, workers or os.cpu_count() or 1)
    good, bad = [], []
    for name, (path, start, seconds), key in zip(table["id"], spans, keys, strict=True):
        one = known[key]
        if reason := one.problem or limits.problem(one.seconds):
            bad.append((name, path, start, seconds, reason, one.problem is not None))
        else:
            good.append((name, path, start, one.seconds, one.hash))
    quarantine = pd.DataFrame(bad, columns=["id", "audio", "start", "seconds", "reason", "broken"])
    _judge(quarantine, len(table), limits)
    numbers = {"start": "float64", "seconds": "float64"}
    return (
        pd.DataFrame(good, columns=["id", "audio", "start", "seconds", "hash"]).astype(numbers),
        quarantine.astype({**numbers, "broken": "bool"}),
    )


def is_indexed(table: pd.DataFrame, cache: Path) -> bool:
    """Whether `index` would open no file: every recording was inspected and none has changed since."""
    known = remembered(cache)
    return all(
        (str(row.audio), *_stat(str(row.audio)), _number(row.start), _number(row.seconds)) in known
        for row in table.itertuples()
    )


def _inspections(
    spans: list[tuple[str, float | None, float | None]], cache: Path, progress: Progress, workers: int
) -> tuple[list[Key], dict[Key, Inspection]]:
    """The key of each span, and an inspection for every key, from the cache or made now."""
    paths = list(dict.fromkeys(path for path, _, _ in spans))
    known = remembered(cache)
    pool = ThreadPoolExecutor(workers)
    try:
        stats = dict(zip(paths, pool.map(_stat, paths), strict=True))
        keys: list[Key] = [(path, *stats[path], start, seconds) for path, start, seconds in spans]
        todo: dict[str, list[Key]] = {}
        for key in dict.fromkeys(keys):
            if key not in known:
                todo.setdefault(key[0], []).append(key)
        files = list(todo)
        for at in range(0, len(files), FLUSH):
            batch = [todo[path] for path in files[at : at + FLUSH]]
            found = pool.map(lambda keys: list(examine(keys[0][0], [key[3:] for key in keys])), batch)
            fresh = dict(pair for keys, ones in zip(batch, found, strict=True) for pair in zip(keys, ones, strict=True))
            remember(cache, fresh)
            known |= fresh
            progress(at + len(batch), len(files), "recordings")
    finally:
        pool.shutdown(cancel_futures=True)  # An interruption doesn't wait for what has not begun.
    return keys, known


def _judge(quarantine: pd.DataFrame, total: int, limits: Limits) -> None:
    broken = quarantine[quarantine["broken"].astype("bool")]
    if len(broken) > limits.max_broken * total:
        what, which = f"{len(broken)} of {total} recordings are broken ({limits.max_broken:.1%} may be)", broken
    elif len(quarantine) == total:
        what, which = f"none of the {total} recordings can be used", quarantine
    else:
        return
    shown = "".join(f"\n  {row.id} {row.reason}" for row in which.head(20).itertuples())
    more = f"\n  and {len(which) - 20} more" if len(which) > 20 else ""
    raise StageError(f"{what}:{shown}{more}\nMend or remove them, or change max_broken, min_seconds, max_seconds.")


def _stat(path: str) -> tuple[int, int]:
    try:
        stat = Path(path).stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _number(value: object) -> float | None:
    return None if pd.isna(value) else float(value)


def _decoded(file: soundfile.SoundFile, known: Inspection, start: float | None, seconds: float | None) -> Inspection:
    """Decodes the segment block by block and judges what comes out."""
    rate = file.samplerate
    first, wanted = _span(file, start, seconds)
    if file.frames and first >= file.frames:
        return replace(known, problem=f"ends at {file.frames / rate:.2f} s, before its segment begins ({start:g} s)")
    count, peak, problem = 0, 0.0, None
    try:
        file.seek(first)
        # The mean of the channels is what is used, so it is what is judged: opposite channels cancel out.
        while count < wanted and len(block := file.read(min(BLOCK, wanted - count), dtype="float32", always_2d=True)):
            count += len(block)
            loudest = float(np.abs(block.mean(axis=1)).max())
            if not np.isfinite(loudest):
                problem = "holds samples that are not numbers"
                break
            peak = max(peak, loudest)
    except soundfile.SoundFileError as error:
        problem = f"is truncated or damaged: {_reason(error, file.name)}"
    found = replace(known, seconds=count / rate)
    if problem is None and count == 0:
        problem = "is empty: it holds no samples"
    if problem is None and (short := max(wanted - count, 0) / rate) > _slack(file, wanted):
        problem = f"is truncated: {count / rate:.2f} s can be decoded, {short:.2f} s are missing"
    if problem is None and seconds is None and (lost := _lost(file)):
        problem = f"is truncated: {lost}"
    if problem is None and seconds is not None and (short := seconds - count / rate) > TOLERANCE:
        problem = f"ends {short:.2f} s before the end of its segment ({start or 0:g} s + {seconds:g} s)"
    if problem is None and peak < SILENCE:
        problem = "is silent"
    return replace(found, problem=problem)


def _span(file: soundfile.SoundFile, start: float | None, seconds: float | None) -> tuple[int, int]:
    """The first frame of a segment and the number of its frames that the header promises."""
    first = round((start or 0.0) * file.samplerate)
    left = max(file.frames - first, 0)
    return min(first, file.frames), left if seconds is None else min(left, round(seconds * file.samplerate))


def _slack(file: soundfile.SoundFile, wanted: int) -> float:
    """Seconds that may be missing: none, but for MP3 without an exact header, whose length is an estimate."""
    return max(TOLERANCE, 0.02 * wanted / file.samplerate) if file.format in ("MP3", "MPEG") else 0.0


def _lost(file: soundfile.SoundFile) -> str | None:
    """What the header promises and the file lacks, where libsndfile quietly takes the shorter length; or None."""
    if file.format == "OGG":
        return _lost_page(Path(file.name))
    # libsndfile's log says `data : 96000 (should be 49956)`. Streamed files promise "unknown": about 2³¹ or 2³² bytes.
    found = re.search(r"^\s*(?:data|SSND|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if found and int(found[2]) < int(found[1]) < 0x7FFF0000:
        return f"its header promises {found[1]} bytes of samples, {found[2]} are there"
    return None


def _lost_page(path: Path) -> str | None:
    """Whether the last page of an Ogg file is cut off. A page is 27 bytes, n lengths, and their sum (RFC 3533)."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - (1 << 17)))  # A page is at most 65 307 bytes.
        tail = file.read()
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    table = page[27 : 27 + page[26]] if len(page) > 26 else b""
    whole = len(page) > 26 and len(page) >= 27 + page[26] and len(page) >= 27 + len(table) + sum(table)
    return None if whole else "its last Ogg page is cut off"


def _reason(error: Exception, path: Path | str) -> str:
    """Why a file can't be read, without its path (which libsndfile repeats) and without a full stop."""
    if not Path(path).exists():
        return "there is no such file"
    if Path(path).is_file() and Path(path).stat().st_size == 0:
        return "the file is empty (0 bytes)"
    text = (isinstance(error, OSError) and error.strerror) or getattr(error, "error_string", "") or str(error)
    return text.strip().rstrip(".")


def _resampled(wave: np.ndarray, rate: int) -> np.ndarray:
    if rate == SAMPLE_RATE:
        return np.ascontiguousarray(wave)
    # Here, not above: the import takes seconds and most corpora are at 16 kHz already.
    import torch
    from torchaudio.functional import resample

    return resample(torch.from_numpy(np.ascontiguousarray(wave)), rate, SAMPLE_RATE).numpy()
