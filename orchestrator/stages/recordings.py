"""Recordings: which audio there is. Its identity is the content of the audio, wherever the files lie."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import soundfile

from orchestrator.audio import SAMPLE_RATE
from orchestrator.errors import StageError
from orchestrator.stage import Build, Stage, runtime
from orchestrator.store import Artifact
from tasks.corpora import synthetic


@dataclass(frozen=True)
class Recording:
    """One utterance's audio: a file, or `seconds` of it from `start` on."""

    id: str
    path: Path
    start: float | None
    seconds: float
    whole: bool

    @property
    def part(self) -> tuple[Path, float | None, float | None]:
        """What `audio.read` takes."""
        return (self.path, None, None) if self.whole else (self.path, self.start, self.seconds)


@dataclass(frozen=True, kw_only=True)
class Recordings(Stage):
    """The healthy recordings of a corpus that brings its own audio: a leaf, known by the hash of that audio.

    Files: `recordings.parquet` (id, audio, start, seconds, hash) and `quarantine.parquet` (id, audio, reason).
    """

    name: ClassVar[str] = "recordings"

    content: str
    corpus: str = runtime("")

    @property
    def readable(self) -> str:
        return self.corpus or "recordings"


@dataclass(frozen=True, kw_only=True)
class SynthesisedRecordings(Stage):
    """Recordings that are made here. The same files as `Recordings`, with the audio (FLAC, 16 kHz, 16 bit) beside them.

    Attributes:
        preset, corpus_seed: of the synthetic corpus.
        content: the hash of everything that is told to the synthesiser, utterance by utterance.
        generator, engine: versions of our own code and of the synthesiser.
    """

    name: ClassVar[str] = "recordings"

    preset: str
    corpus_seed: int
    content: str
    generator: int
    engine: str
    corpus: str = runtime("")

    @property
    def readable(self) -> str:
        return self.corpus or f"synthetic-{self.preset}"

    def build(self, at: Build) -> None:
        utterances = synthetic.utterances(self.preset, self.corpus_seed)
        (at.folder / "audio").mkdir()
        rows = []
        for done, (name, wave) in enumerate(synthetic.speak_all(utterances, workers=os.cpu_count() or 1), 1):
            audio = f"audio/{name}.flac"
            buffer = io.BytesIO()  # written by Python, whose errors say when the disk is full
            soundfile.write(buffer, wave, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
            (at.folder / audio).write_bytes(buffer.getvalue())
            rows.append((name, audio, None, len(wave) / SAMPLE_RATE, ""))
            at.progress(done, len(utterances), "utterances")
        write_tables(at.folder, pd.DataFrame(rows, columns=["id", "audio", "start", "seconds", "hash"]), None)


def write_tables(folder: Path, recordings: pd.DataFrame, quarantine: pd.DataFrame | None) -> None:
    """Writes the two tables of a recordings artifact."""
    if quarantine is None:
        quarantine = pd.DataFrame({"id": [], "audio": [], "reason": []}, dtype=str)
    recordings.astype({"start": "float64"}).to_parquet(folder / "recordings.parquet", index=False)
    quarantine.to_parquet(folder / "quarantine.parquet", index=False)


def read_recordings(artifact: Artifact) -> list[Recording]:
    """The recordings of an artifact, in the order of their ids."""
    table = pd.read_parquet(artifact.file("recordings.parquet")).sort_values("id")
    if table.empty:
        raise StageError(f"{artifact.folder.name} holds no healthy recording: see its quarantine.parquet")
    return [
        Recording(
            id=row.id,
            path=artifact.folder / row.audio,  # an absolute path stays as it is
            start=None if pd.isna(row.start) else float(row.start),
            seconds=float(row.seconds),
            whole=pd.isna(row.start),
        )
        for row in table.itertuples()
    ]
