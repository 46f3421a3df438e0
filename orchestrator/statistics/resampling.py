"""Resampling: a test set drawn again and again, whole speakers at a time, every cell scored on the same draws.

Utterances of one speaker are alike, so independent draws of utterances would claim too much; speakers are what is drawn
where they are known (the cluster bootstrap: Davison and Hinkley, Bootstrap Methods, 1997, section 3.8). A draw of a test
set is a weight for each group; a metric of it is a function of weighted sums, so all draws of all cells are one product
`[resamples, groups] @ [groups, counts]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.metrics import score

SEED = 20241108
BLOCK_BYTES = 1 << 26
"""Of weights and of sums that are held at once."""


@dataclass(frozen=True)
class Groups:
    """What is drawn together.

    Attributes:
        unit: `speaker`, or `utterance` where no speaker is known or there is but one.
        of: the number of each utterance's group, `[N]`. Where only some speakers are known, an utterance of an unknown
            one is a group of its own.
        size: the number of groups.
    """

    unit: Literal["speaker", "utterance"]
    of: np.ndarray
    size: int

    @classmethod
    def make(cls, speakers: Sequence[str | None]) -> Groups:
        """The groups of utterances by their speakers, None for unknown."""
        n = len(speakers)
        if len({speaker for speaker in speakers if speaker is not None}) > 1:
            names = [(0, s) if s is not None else (1, str(i)) for i, s in enumerate(speakers)]
            numbers = {name: number for number, name in enumerate(sorted(set(names)))}
            return cls("speaker", np.array([numbers[name] for name in names]), len(numbers))
        return cls("utterance", np.arange(n), n)

    def sums(self, counts: np.ndarray) -> np.ndarray:
        """Counts of utterances `[N, C]` → of groups `[G, C]`."""
        if self.unit == "utterance":
            return counts
        summed = np.zeros((self.size, counts.shape[1]))
        np.add.at(summed, self.of, counts)
        return summed

    def draws(self, resamples: int, rows: int) -> Iterator[np.ndarray]:
        """How often each group is drawn, whole numbers `[≤ rows, G]` at a time. Depends on the number of groups alone."""
        random = np.random.default_rng([SEED, self.size])
        for start in range(0, resamples, rows):
            drawn = random.integers(self.size, size=(min(rows, resamples - start), self.size))
            drawn += self.size * np.arange(len(drawn))[:, None]
            yield np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)


@dataclass(frozen=True)
class Scores:
    """One metric of one cell on one test set: of the test set itself, and of its resamples `[R]`."""

    value: float
    draws: np.ndarray


def resampled(
    groups: Groups, counted: Sequence[tuple[str, np.ndarray]], resamples: int, block_bytes: int = BLOCK_BYTES
) -> list[Scores]:
    """Scores every (metric, counts `[N, C]`) on the test set and on the same resamples of it."""
    columns = np.concatenate([[0], np.cumsum([counts.shape[1] for _, counts in counted])])
    sums = np.concatenate([groups.sums(counts) for _, counts in counted], axis=1)
    parts = [(metric, slice(*columns[i : i + 2])) for i, (metric, _) in enumerate(counted)]
    # All sums are whole numbers: single precision is exact below 2^24, and twice as fast.
    kind = np.float32 if groups.size * sums.max() < 2**24 else np.float64
    sums = sums.astype(kind)
    rows = max(1, block_bytes // (8 * max(groups.size, sums.shape[1])))
    drawn = np.empty((len(counted), resamples))
    done = 0
    for weights in groups.draws(resamples, rows):
        totals = (weights.astype(kind) @ sums).astype(np.float64)
        for i, (metric, part) in enumerate(parts):
            drawn[i, done : done + len(totals)] = score(metric, totals[:, part])
        done += len(totals)
    whole = sums.sum(axis=0, dtype=np.float64)
    return [Scores(float(score(metric, whole[part])), drawn[i]) for i, (metric, part) in enumerate(parts)]
