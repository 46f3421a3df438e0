"""How an utterance's speech reaches the decoder: one class a kind of features, over the artifacts that it reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.decoders import SpeechSpec
from orchestrator.errors import StageError
from orchestrator.stage import Stage
from orchestrator.stages.bpe import Bpe, encode, read_bpe
from orchestrator.stages.features import Features
from orchestrator.stages.sample import Sample, read_sample
from orchestrator.stages.shards import read_index, read_shards
from orchestrator.stages.units import Units, read_units
from orchestrator.store import Artifact

Open = Callable[[Stage], Artifact]
BITS_STORED = 16
"""Continuous features are stored, and so counted, in fp16."""


@dataclass(frozen=True, kw_only=True)
class NoSpeech:
    """No speech at all: what the decoder scores by guessing."""

    kind = "none"

    def load(self, open: Open, ids: Iterable[str]) -> dict[str, np.ndarray]:
        """Nothing, for every utterance."""
        return {}

    def spec(self, open: Open) -> SpeechSpec:
        """What the decoder's front end is built from."""
        return SpeechSpec(kind="none")

    def cost(self, open: Open) -> dict[str, float | None]:
        """No tokens and no bits."""
        return {"tokens_per_second_of_audio": 0.0, "bits_per_second": 0.0}


@dataclass(frozen=True, kw_only=True)
class ContinuousSpeech:
    """Frames, normalised per dimension by the sample's statistics, `downsample` of them concatenated."""

    kind = "continuous"

    features: Features
    sample: Sample
    downsample: int

    def load(self, open: Open, ids: Iterable[str]) -> dict[str, np.ndarray]:
        """Raw fp16 frames `[T, D]` by utterance; the front end normalises and concatenates."""
        return read_shards(open(self.features), ids)

    def spec(self, open: Open) -> SpeechSpec:
        """Dimension, mean and deviation of the frames, and how many are concatenated."""
        sample = read_sample(open(self.sample))
        return SpeechSpec(
            kind="continuous",
            dimension=len(sample["mean"]),
            concatenate=self.downsample,
            mean=tuple(map(float, sample["mean"])),
            std=tuple(map(float, sample["std"])),
        )

    def cost(self, open: Open) -> dict[str, float | None]:
        """Positions a second after concatenation; bits of the raw frames as stored."""
        rate, dimension = self.features.encoder.frame_rate, self.features.encoder.dimension_of(self.features.layer)
        return {
            "tokens_per_second_of_audio": rate / self.downsample,
            "bits_per_second": float(BITS_STORED * dimension * rate),
        }


@dataclass(frozen=True, kw_only=True)
class DiscreteSpeech:
    """Units, de-duplicated or one a frame, or the pieces that a BPE makes of them."""

    kind = "discrete"

    units: Units
    dedup: bool
    bpe: Bpe | None = None

    def load(self, open: Open, ids: Iterable[str]) -> dict[str, np.ndarray]:
        """Tokens int64 `[N]` by utterance."""
        units = read_units(open(self.units), ids, dedup=self.dedup)
        return units if self.bpe is None else encode(read_bpe(open(self.bpe)), units)

    def spec(self, open: Open) -> SpeechSpec:
        """Size of the table of speech embeddings."""
        return SpeechSpec(kind="discrete", tokens=self._vocabulary(open))

    def cost(self, open: Open) -> dict[str, float | None]:
        """Measured over the whole corpus: tokens a second, and N · log2 V bits a second."""
        if self.bpe is not None:
            report: dict[str, Any] = open(self.bpe).json("statistics.json")
        else:
            report = open(self.units).json("statistics.json")["deduplicated" if self.dedup else "frames"]
        return {
            "tokens_per_second_of_audio": report["tokens_per_second"],
            "bits_per_second": report["tokens_per_second"] * math.log2(report["vocabulary"]),
        }

    def _vocabulary(self, open: Open) -> int:
        return self.units.codebook.k if self.bpe is None else read_bpe(open(self.bpe)).get_vocab_size()


Speech = NoSpeech | ContinuousSpeech | DiscreteSpeech


def unreadable(speech: Speech, open: Open) -> dict[str, str]:
    """Utterances that have no frames, with reasons: they count as empty answers, never as absent."""
    if isinstance(speech, NoSpeech):
        return {}
    index = read_index(open(speech.features if isinstance(speech, ContinuousSpeech) else speech.units))
    broken = index[index["error"].notna()]
    return dict(zip(broken["id"], broken["error"], strict=True))


def load_all(speech: Speech, open: Open, ids: Iterable[str]) -> dict[str, np.ndarray | None]:
    """Speech by utterance; None for every utterance where there is no speech to give (kind `none`).

    Raises:
        StageError: an utterance is in no shard.
    """
    wanted = list(ids)
    if isinstance(speech, NoSpeech):
        return dict.fromkeys(wanted)
    loaded = speech.load(open, wanted)
    if empty := [name for name, values in loaded.items() if len(values) == 0]:
        raise StageError(f"the utterance '{empty[0]}' has frames but no speech for the decoder")
    return dict(loaded)
