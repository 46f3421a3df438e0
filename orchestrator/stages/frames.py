"""Frames that are read when they are needed: a training on a thousand hours must not hold a terabyte in memory.

What is here has the shape and type of the array that `np.asarray` makes of it, so that whoever lays a batch out can
assign it like one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from orchestrator.errors import StageError
from orchestrator.stages.shards import read_index, read_shards
from orchestrator.store import Artifact

IN_MEMORY = 1 << 30
"""Bytes of features that a cell keeps in memory, which is faster; more are read from their shards, batch by batch."""


class LazyArray(ABC):
    """`[T, D]`, made by `np.asarray`."""

    ndim = 2

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """T and D."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Of the array."""

    @abstractmethod
    def _read(self) -> np.ndarray:
        """The array."""

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        values = self._read()
        return values if dtype is None else values.astype(dtype, copy=False)


@dataclass(frozen=True)
class InShard(LazyArray):
    """The frames of one utterance in a shard file."""

    path: Path
    name: str
    frames: int
    dimension: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.frames, self.dimension

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float16)

    def _read(self) -> np.ndarray:
        with safe_open(self.path, "numpy") as file:
            return file.get_tensor(self.name)


@dataclass(frozen=True)
class SideBySide(LazyArray):
    """Several layers of the same frames: `[T, layers · D]`."""

    layers: Sequence[np.ndarray | LazyArray]

    def __post_init__(self) -> None:
        if len({layer.shape[0] for layer in self.layers}) != 1:
            raise StageError(
                f"the layers have different numbers of frames: {[layer.shape[0] for layer in self.layers]}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        return self.layers[0].shape[0], sum(layer.shape[1] for layer in self.layers)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.layers[0].dtype

    def _read(self) -> np.ndarray:
        return np.concatenate([np.asarray(layer) for layer in self.layers], axis=1)


@dataclass(frozen=True)
class LookedUp(LazyArray):
    """The rows of a table `[k, D]` that codes `[T]` name."""

    codes: np.ndarray
    table: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.codes), self.table.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.table.dtype

    def _read(self) -> np.ndarray:
        return self.table[self.codes]


def open_frames(artifact: Artifact, ids: Iterable[str], most_bytes: int = IN_MEMORY) -> dict[str, Any]:
    """The frames of the wanted utterances of a features artifact, by id; those without frames are absent.

    Small corpora are read at once, large ones when a batch needs them: the same numbers either way.

    Raises:
        StageError: an id is in no shard.
    """
    wanted = set(ids)
    index = read_index(artifact)
    if lacking := sorted(wanted - set(index["id"])):
        raise StageError(f"{artifact.folder.name} lacks {len(lacking)} utterances, the first is '{lacking[0]}'")
    rows = index[index["id"].isin(wanted) & index["error"].isna()]
    found: dict[str, InShard] = {}
    for shard, group in rows.groupby("shard", sort=True):
        path = artifact.file(f"{shard}.safetensors")
        with safe_open(path, "numpy") as file:
            for name in group["id"]:
                found[name] = InShard(path, name, *file.get_slice(name).get_shape())
    if sum(one.frames * one.dimension for one in found.values()) * 2 > most_bytes:
        return dict(found)
    return dict(read_shards(artifact, wanted))
