"""Audio: any recording in, 16 kHz mono out; what is wrong with a recording; the index of a corpus.

soundfile decodes (WAV, FLAC, Ogg Vorbis and Opus, MP3, AIFF, …; parts of files too), torchaudio resamples.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import soundfile

from orchestrator.errors import StageError
from orchestrator.inspection import COLUMNS, KEY, Inspection, Key, compact, find, remember, remembered
from orchestrator.stage import Progress, silent
from orchestrator.store import checksum

SAMPLE_RATE = 16_000
"""Hz. Every encoder gets its audio at this rate."""

SILENCE = 1e-4
"""Full scale is 1: a recording whose loudest sample is below this holds no speech (−80 dBFS)."""

TOLERANCE = 0.1
"""Seconds by which the end of a segment may lie beyond the end of its file: annotations are rounded."""

FLUSH = 1000
"""Recordings after which the index is written down: what a killed process loses at most."""

STATS = 512
"""Files whose size and time of change are asked for in one go: a task for each costs more than the question."""

SLOW_STAT = 1e-4
"""Seconds: where a file's size takes longer to be told, files are on a server."""

WAITING = 32
"""Files a worker that are handed out ahead of it."""

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
    asked, known = _keys(table), remembered(cache)
    found = find(known, asked)
    if found["hash"].null_count:
        todo = asked.filter(pc.is_null(found["hash"]))
        fresh = _inspected(todo, cache, progress, workers or os.cpu_count() or 1)
        compact(cache)
        found = find(pa.concat_tables([known, fresh]), asked)
    return _parted(table, found, limits or Limits())


def cached(table: pd.DataFrame, cache: Path, limits: Limits | None = None) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """What `index` gives where it has no file to open; None where it would have to open some."""
    known = remembered(cache)
    if not len(known):  # not worth a look at every file
        return None
    found = find(known, _keys(table))
    return None if found["hash"].null_count else _parted(table, found, limits or Limits())


def _keys(table: pd.DataFrame) -> pa.Table:
    """The key of each row, with the size and the time of change of its file as they are now."""
    files = pa.array(table["audio"], pa.string()).dictionary_encode()
    paths = files.dictionary.to_pylist()
    of_row = np.array(_stats(paths), np.int64).reshape(-1, 2)[files.indices.to_numpy()]
    span = [pa.array(table[name].astype("float64"), from_pandas=True) for name in ("start", "seconds")]
    return pa.table([files.dictionary_decode(), of_row[:, 0], of_row[:, 1], *span], schema=KEY)


def _inspected(todo: pa.Table, cache: Path, progress: Progress, workers: int) -> pa.Table:
    """Inspections of keys, made now and remembered as they come."""
    todo = todo.group_by(KEY.names).aggregate([]).select(KEY.names).sort_by([(name, "ascending") for name in KEY.names])
    rows = (
        row for batch in todo.to_batches(STATS) for row in zip(*(c.to_pylist() for c in batch.columns), strict=True)
    )
    total, done = pc.count_distinct(todo["path"]).as_py(), 0
    tables, fresh = [COLUMNS.empty_table()], {}
    running: deque[tuple[list[Key], Future[list[Inspection]]]] = deque()
    files = groupby(rows, key=itemgetter(0))
    pool = ThreadPoolExecutor(workers)
    try:
        while done < total:
            for path, keys in islice(files, WAITING * workers - len(running)):
                one = list(keys)
                running.append((one, pool.submit(lambda path, one: [*examine(path, [k[3:] for k in one])], path, one)))
            keys, found = running.popleft()
            fresh |= zip(keys, found.result(), strict=True)
            done += 1
            if len(fresh) >= FLUSH:
                tables.append(remember(cache, fresh))
                fresh = {}
            progress(done, total, "recordings")
    finally:
        pool.shutdown(cancel_futures=True)  # An interruption doesn't wait for what has not begun.
        tables.append(remember(cache, fresh))
    return pa.concat_tables(tables)


def _parted(table: pd.DataFrame, found: pa.Table, limits: Limits) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The good recordings and the quarantine, out of what is known of each row."""
    seconds = found["seconds"].to_numpy()
    broken = pc.is_valid(found["problem"]).to_numpy()
    bad = broken | (seconds < limits.min_seconds) | (seconds > limits.max_seconds)
    told = table.loc[bad, ["id", "audio"]].reset_index(drop=True)
    number = table[["start", "seconds"]].astype("float64")
    reasons = [
        problem or limits.problem(length)
        for problem, length in zip(found.filter(pa.array(bad))["problem"].to_pylist(), seconds[bad], strict=True)
    ]
    quarantine = told.assign(
        start=number["start"].to_numpy()[bad],
        seconds=number["seconds"].to_numpy()[bad],
        reason=pd.Series(reasons, dtype="str"),
        broken=broken[bad],
    )
    _judge(quarantine, len(table), limits)
    good = table.loc[~bad, ["id", "audio"]].reset_index(drop=True)
    hashes = found["hash"].to_pandas().to_numpy()[~bad]
    return good.assign(start=number["start"].to_numpy()[~bad], seconds=seconds[~bad], hash=hashes), quarantine


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


def _stats(paths: list[str]) -> list[tuple[int, int]]:
    """Size and time of change of each file. A file server answers many questions at once; a disk is slower for threads."""
    batches = [paths[at : at + STATS] for at in range(0, len(paths), STATS)]
    started = time.perf_counter()
    found = [_stat(path) for path in (batches or [[]])[0]]
    if time.perf_counter() - started < SLOW_STAT * len(found):
        return found + [_stat(path) for path in paths[STATS:]]
    with ThreadPoolExecutor(16) as pool:
        rest = pool.map(lambda batch: [_stat(path) for path in batch], batches[1:])
        return found + [stat for batch in rest for stat in batch]


def _stat(path: str) -> tuple[int, int]:
    try:
        stat = os.stat(path)  # noqa: PTH116 (a Path for each costs more than the question)
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
