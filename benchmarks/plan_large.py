"""What a plan costs on a corpus of LibriSpeech's size: seconds and peak memory of each part, made-up recordings.

    python benchmarks/plan_large.py [--folder FOLDER] [--share 1.0] [--space SPACE]

A tree in LibriSpeech's layout is made up in the folder (empty files: only their names, sizes and times count), with
transcripts, a lexicon, and an index cache as if all of it had been read. Then the parts of `tokengrid plan` run in a
process of their own. With --space, the cells of that space on LibriSpeech are planned, over the made-up one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from orchestrator import audio, corpora, inspection
from orchestrator.grid import Grid
from orchestrator.space import Space
from orchestrator.space_file import load, parse
from orchestrator.stages import annotations as notes
from orchestrator.store import Store
from tasks.corpora.librispeech import UTTERANCES, LibriSpeechCorpus

CHAPTER = 48
"""Utterances of a chapter, on average, in LibriSpeech."""

WORDS = 33
"""Words of an utterance, on average; the vocabulary of the training sets is about 90 000 words."""


def main(
    folder: Path | None = None,
    share: float = 1.0,
    space: str | None = None,
    measure: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Prints a line a part: seconds of the clock and of a core, and the peak memory of the process so far."""
    if measure and folder:
        print(f"{'(imports)':28} {'':32}   peak {_peak():6.0f} MB", flush=True)
        _measure(folder, space)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = folder or Path(scratch)
        if not (folder / "state").exists():
            with _timed("(making it up)"):
                _make(folder, share)
        own = [sys.executable, __file__, "--folder", str(folder), "--measure", *(["--space", space] if space else [])]
        subprocess.run(own, check=True)


def _make(folder: Path, share: float) -> None:
    """A tree in LibriSpeech's layout, its lexicon, and the inspections of its recordings in a store's index."""
    random = np.random.default_rng(0)
    letters = random.choice(list("abcdefghijklmnopqrstuvwxyz"), (90_000, 8))
    words = ["".join(row[:size]) for row, size in zip(letters, random.integers(2, 8, 90_000), strict=True)]
    phonemes = "AA AE AH AO B D EH ER F G IH IY K L M N OW P R S T UW V W Z".split()
    root = folder / "LibriSpeech"
    root.mkdir(parents=True)
    said = random.choice(phonemes, (90_000, 4))
    lexicon = (f"{word}  {' '.join(row)}" for word, row in zip(words, said, strict=True))
    (folder / "lexicon.txt").write_text("\n".join(lexicon) + "\n")
    speaker, paths = 10, []
    for subset, size in UTTERANCES.items():
        size = max(round(size * share), 3 * CHAPTER)
        for chapter, first in enumerate(range(0, size, CHAPTER)):
            speaker += chapter % 3 == 0
            place = root / subset / str(speaker) / str(chapter)
            place.mkdir(parents=True)
            names = [f"{speaker}-{chapter}-{n:04d}" for n in range(min(CHAPTER, size - first))]
            drawn = (90_000 * random.random((len(names), WORDS)) ** 4).astype(int)
            lines = [
                f"{name} {' '.join(words[i] for i in row)}".upper() for name, row in zip(names, drawn, strict=True)
            ]
            (place / f"{speaker}-{chapter}.trans.txt").write_text("\n".join(lines) + "\n")
            for name in names:
                os.close(os.open(place / f"{name}.flac", os.O_CREAT))
                paths.append(str(place / f"{name}.flac"))
    stats = [os.stat(path) for path in paths]  # noqa: PTH116 (a Path for each costs more than the call)
    seconds = random.uniform(2, 16, len(paths))
    known = {
        (path, stat.st_size, stat.st_mtime_ns, None, None): inspection.Inspection(f"{n:032x}", s, 16_000, 1)
        for n, (path, stat, s) in enumerate(zip(paths, stats, seconds, strict=True))
    }
    inspection.remember(folder / "state" / "index", known)


def _space(folder: Path) -> Space:
    """Two tasks, two encoders, five codebooks and BPE."""
    features = [
        {"kind": "continuous", "downsample": 2},
        {"kind": "discrete", "codebook": [500, 1000, 2000, 3000]},
        {"kind": "discrete", "codebook": 2000, "bpe": [4000, 6000, 8000]},
        "none",
    ]
    common = {"corpus": "librispeech", "encoder": ["logmel", "mfcc"], "layer": 0, "features": features}
    corpus = {"reader": "librispeech", "path": str(folder / "LibriSpeech"), "lexicon": str(folder / "lexicon.txt")}
    block = {"task": ["asr", "phoneme"], "decoder": "tiny", "seed": [0, 1]}
    return parse({"name": "large", "corpora": {"librispeech": {**corpus, "partial": True}}, "grid": block | common})


def _measure(folder: Path, name: str | None) -> None:
    space = _space(folder)
    corpus, only = space.corpora["librispeech"], {}
    if name:
        asked = load(name)
        kept = {one: corpus for one, read in asked.corpora.items() if isinstance(read, LibriSpeechCorpus)}
        space, only = asked.model_copy(update={"corpora": {**asked.corpora, **kept}}), {"corpus": list(kept)}
    assert isinstance(corpus, LibriSpeechCorpus)
    store = Store(folder / "state")
    cache = store.root / "index"
    with _timed("the corpus' table"):
        table = corpus.table()
    print(f"{'':28} {len(table):,} rows")
    with _timed("inspections remembered"):
        known = inspection.remembered(cache)
    del known
    with _timed("audio.cached"):
        assert audio.cached(table, cache)
    with _timed("audio.index, all cached"):
        audio.index(table, cache)
    with _timed("corpora.index (all of that)"):
        indexed = corpora.index("librispeech", corpus, store, only_cached=True)
    with _timed("annotations: text"):
        notes.annotations("librispeech", "text", indexed.table)
    with _timed("annotations: phonemes"):
        notes.annotations("librispeech", "phonemes", indexed.table)
    with _timed("selection"):
        notes.selection("librispeech", indexed.table.loc[indexed.table["split"] == "train", "id"])
    del table, indexed
    with _timed("Grid.plan, whole"):
        grid = Grid(space, store.root, only)
        plan = grid.plan()
    print(f"{'':28} {plan.cells} cells, {plan.hours}")
    with _timed("Grid.plan, nothing indexed"):
        grid = Grid(space, folder / "empty", only)
        assert grid.plan().unknown


@contextmanager
def _timed(part: str) -> Iterator[None]:
    started, worked = time.perf_counter(), time.process_time()
    yield
    wall, core = time.perf_counter() - started, time.process_time() - worked
    print(f"{part:28} {wall:7.2f} s, {core:7.2f} s of a core   peak {_peak():6.0f} MB", flush=True)


def _peak() -> float:
    """MB. Not ru_maxrss: that of a new process begins with what its parent held."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


if __name__ == "__main__":
    typer.run(main)
