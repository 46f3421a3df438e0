"""Shards: how the output of the encoder pass lies on disk. About a hundred utterances a safetensors file, and an index."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import safe_open
from safetensors.numpy import save_file

from orchestrator.errors import StageError
from orchestrator.stages.recordings import Recording
from orchestrator.store import Artifact

MOST_UTTERANCES = 100
MOST_SECONDS = 600.0


@dataclass(frozen=True)
class Shard:
    """Recordings that are encoded and stored together. Its name is the hash of their ids."""

    recordings: tuple[Recording, ...]

    @property
    def name(self) -> str:
        ids = "\n".join(recording.id for recording in self.recordings)
        return f"shard-{hashlib.sha256(ids.encode()).hexdigest()[:16]}"

    @property
    def seconds(self) -> float:
        return sum(recording.seconds for recording in self.recordings)


def cut(recordings: Iterable[Recording]) -> list[Shard]:
    """Cuts recordings into shards, longest first, by the recordings alone: who asks for what never moves a border."""
    shards: list[Shard] = []
    current: list[Recording] = []
    seconds = 0.0
    for recording in sorted(recordings, key=lambda r: (-r.seconds, r.id)):
        if current and (len(current) == MOST_UTTERANCES or seconds + recording.seconds > MOST_SECONDS):
            shards.append(Shard(tuple(current)))
            current, seconds = [], 0.0
        current.append(recording)
        seconds += recording.seconds
    return [*shards, Shard(tuple(current))] if current else shards


def write_shard(folder: Path, shard: Shard, arrays: Mapping[str, np.ndarray], errors: Mapping[str, str]) -> None:
    """Writes a shard atomically: retries and duplicate executions are harmless."""
    path = folder / f"{shard.name}.safetensors"
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
    # Errors travel in the header, so a shard is one file and can't be half there.
    save_file(dict(arrays), temporary, metadata={f"error:{name}": reason for name, reason in errors.items()})
    temporary.replace(path)


def is_written(folder: Path, shard: Shard) -> bool:
    """Whether a shard is there, with a header that can be read."""
    path = folder / f"{shard.name}.safetensors"
    if not path.exists():
        return False
    try:
        with safe_open(path, "numpy"):
            return True
    except Exception:  # a torn file, whatever the library calls it: make it anew
        path.unlink(missing_ok=True)
        return False


def errors_of(path: Path) -> dict[str, str]:
    """The utterances of a shard file that have no frames, with reasons."""
    with safe_open(path, "numpy") as file:
        header = file.metadata() or {}
    return {key.removeprefix("error:"): reason for key, reason in header.items() if key.startswith("error:")}


def remove_broken(folder: Path, shards: Iterable[Shard]) -> None:
    """Removes the shards that lack frames of an utterance."""
    for path in (folder / f"{shard.name}.safetensors" for shard in shards):
        if errors_of(path):
            path.unlink()


def write_index(folder: Path, shards: Sequence[Shard]) -> dict[str, str]:
    """Writes `index.parquet` (id, shard, seconds, error) over finished shards, clears what is left of torn ones.

    Returns:
        The utterances without frames, with reasons.
    """
    for left in folder.glob("*.tmp"):
        left.unlink(missing_ok=True)
    broken: dict[str, str] = {}
    rows = []
    for shard in shards:
        errors = errors_of(folder / f"{shard.name}.safetensors")
        broken |= errors
        rows += [(r.id, shard.name, r.seconds, errors.get(r.id)) for r in shard.recordings]
    index = pd.DataFrame(rows, columns=["id", "shard", "seconds", "error"]).astype({"error": "string"})
    index.sort_values("id").to_parquet(folder / "index.parquet", index=False)
    return broken


def read_index(artifact: Artifact) -> pd.DataFrame:
    """id, shard, seconds, error (missing where the utterance has frames)."""
    return pd.read_parquet(artifact.file("index.parquet"))


def read_shards(artifact: Artifact, ids: Iterable[str] | None = None, suffix: str = "") -> dict[str, np.ndarray]:
    """The arrays of the wanted utterances (all by default), by id; broken ones are absent.

    Raises:
        StageError: an id is in no shard, which would be a silent gap.
    """
    index = read_index(artifact)
    if ids is not None:
        wanted = set(ids)
        index = index[index["id"].isin(wanted)]
        if lacking := sorted(wanted - set(index["id"])):
            raise StageError(f"{artifact.folder.name} lacks {len(lacking)} utterances, the first is '{lacking[0]}'")
    arrays: dict[str, np.ndarray] = {}
    for shard, rows in index[index["error"].isna()].groupby("shard", sort=True):
        with safe_open(artifact.file(f"{shard}.safetensors"), "numpy") as file:
            arrays |= {name: file.get_tensor(name + suffix) for name in rows["id"]}
    return arrays
