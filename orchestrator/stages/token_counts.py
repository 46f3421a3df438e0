"""Counts of tokens: one way through the units of a task, a shard at a time, so that memory does not grow with the corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from safetensors import safe_open

from orchestrator.errors import StageError
from orchestrator.stage import Build
from orchestrator.stages.bpe import Bpe, encode, read_bpe
from orchestrator.stages.features import Features
from orchestrator.stages.shards import read_index
from orchestrator.stages.units import RUNS, Units
from orchestrator.store import Artifact


@dataclass(frozen=True)
class Counts:
    """Of a set of utterances; counts of two disjoint sets can be added.

    Attributes:
        codes: how many frames have each code, int64 `[k]`.
        tokens: how often each token occurs, int64 `[V]`.
        units: how many there are, de-duplicated.
        seconds: of audio.
    """

    codes: np.ndarray
    tokens: np.ndarray
    utterances: int = 0
    units: int = 0
    seconds: float = 0.0

    @classmethod
    def none(cls, k: int, vocabulary: int) -> Counts:
        """Of no utterance."""
        return cls(np.zeros(k, np.int64), np.zeros(vocabulary, np.int64))

    @property
    def frames(self) -> int:
        return int(self.codes.sum())

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.codes + other.codes,
            self.tokens + other.tokens,
            self.utterances + other.utterances,
            self.units + other.units,
            self.seconds + other.seconds,
        )


def count(
    at: Build, found: pd.DataFrame, splits: Iterable[str], units: Units, dedup: bool, bpe: Bpe | None
) -> tuple[dict[str, Counts], np.ndarray]:
    """Counts by split, of the units of `found` (see `with_frames`), or of the pieces that a BPE makes of them.

    Args:
        splits: that the counts tell apart, also where none of their utterances was found.

    Returns:
        The counts, and the tokens of each utterance, int64, in no particular order.
    """
    pieces, k = read_bpe(at.open(bpe)) if bpe else None, units.codebook.k
    vocabulary = pieces.get_vocab_size() if pieces else k
    counts = {split: Counts.none(k, vocabulary) for split in splits}
    lengths: list[np.ndarray] = []
    for file, group in shards(at, units, found):
        for split, members in group.groupby("split", sort=True):
            codes = {name: file.get_tensor(name).astype(np.int64) for name in members["id"]}
            runs = {name: file.get_tensor(name + RUNS) for name in codes}
            joined = np.concatenate(list(codes.values()))
            # Exact: sums of whole numbers far below 2^53.
            frames = np.bincount(joined, weights=np.concatenate(list(runs.values())), minlength=k).astype(np.int64)
            read = codes if dedup else {name: np.repeat(values, runs[name]) for name, values in codes.items()}
            read = encode(pieces, read) if pieces else read
            counts[split] += Counts(
                codes=frames,
                tokens=np.bincount(np.concatenate(list(read.values())), minlength=vocabulary),
                utterances=len(members),
                units=len(joined),
                seconds=float(members["seconds"].sum()),
            )
            lengths.append(np.array([len(values) for values in read.values()], np.int64))
    return counts, joined_up(lengths)


def with_frames(artifact: Artifact, rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """id, split, shard and seconds of the utterances that have frames, by id, and how many have none."""
    found = rows.merge(read_index(artifact), on="id", how="left", validate="one_to_one").sort_values("id")
    if (lacking := found["shard"].isna()).any():
        first = found.loc[lacking, "id"].iloc[0]
        raise StageError(f"{artifact.folder.name} lacks {lacking.sum()} annotated utterances, the first is '{first}'")
    broken = found["error"].notna()
    return found[~broken], int(broken.sum())


def shards(at: Build, stage: Features | Units, found: pd.DataFrame) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Every shard file that holds some of the utterances, open, with their rows."""
    artifact, shards = at.open(stage), found.groupby("shard", sort=True)
    for done, (shard, group) in enumerate(shards):
        at.progress(done, shards.ngroups, "shards")
        path = f"{shard}.safetensors"
        # Of features only the header is read, for the lengths: to verify hundreds of gigabytes is for who reads them.
        with safe_open(artifact.file(path) if isinstance(stage, Units) else artifact.folder / path, "numpy") as file:
            yield file, group
    at.progress(shards.ngroups, shards.ngroups, "shards")


def frame_counts(at: Build, found: pd.DataFrame, features: Features) -> np.ndarray:
    """The frames of each utterance, int64, in no particular order; no frame is read for them."""
    return joined_up(
        np.array([file.get_slice(name).get_shape()[0] for name in group["id"]], np.int64)
        for file, group in shards(at, features, found)
    )


def joined_up(parts: Iterable[np.ndarray]) -> np.ndarray:
    """Whole numbers of all parts, of which there may be none."""
    return np.concatenate([np.zeros(0, np.int64), *parts])
