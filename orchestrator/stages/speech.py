"""How an utterance's speech reaches the decoder: one class a kind of features, over the artifacts that it reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator import tokens
from orchestrator.decoders import SpeechSpec
from orchestrator.encoders import EncoderSpec
from orchestrator.errors import StageError
from orchestrator.stage import Stage
from orchestrator.stages.bpe import Bpe, encode, read_bpe
from orchestrator.stages.codebook import Assigner, read_centroids
from orchestrator.stages.encoding import Frames
from orchestrator.stages.features import Features
from orchestrator.stages.frames import IN_MEMORY, LookedUp, SideBySide, open_frames
from orchestrator.stages.sample import Sample, read_sample
from orchestrator.stages.shards import read_index
from orchestrator.stages.units import Units, read_units
from orchestrator.store import Artifact

Open = Callable[[Stage], Artifact]
Read = Callable[[dict[str, Frames]], dict[str, Any]]
"""From an utterance's frames, layer by layer, to its speech as `load` gives it, for several utterances by id."""
BITS_STORED = 16
"""Continuous features are stored, and so counted, in fp16."""


@dataclass(frozen=True, kw_only=True)
class NoSpeech:
    """No speech at all: what the decoder scores by guessing."""

    kind = "none"
    encoder = None
    layers = ()

    def load(self, open: Open, ids: Iterable[str]) -> dict[str, np.ndarray]:
        """Nothing, for every utterance."""
        return {}

    def reader(self, open: Open, device: str = "cpu") -> Read:
        """The same for utterances that are stored nowhere."""
        return dict.fromkeys

    def spec(self, open: Open) -> SpeechSpec:
        """What the decoder's front end is built from."""
        return SpeechSpec(kind="none")

    def cost(self, open: Open) -> dict[str, float | None]:
        """No tokens and no bits."""
        return {"tokens_per_second_of_audio": 0.0, "bits_per_second": 0.0}


@dataclass(frozen=True, kw_only=True)
class ContinuousSpeech:
    """Frames, normalised per dimension by the sample's statistics, `downsample` of them concatenated.

    Attributes:
        features, samples: of one layer, or of each of several, of which the front end learns a weighted sum.
        downsample: how many neighbouring frames make one position of the decoder.
    """

    kind = "continuous"

    features: tuple[Features, ...]
    samples: tuple[Sample, ...]
    downsample: int

    def load(self, open: Open, ids: Iterable[str]) -> dict[str, Any]:
        """Raw fp16 frames `[T, layers · D]` by utterance, maybe lazy; the front end normalises and concatenates."""
        wanted = list(ids)
        share = IN_MEMORY // len(self.features)
        layers = [open_frames(open(features), wanted, share) for features in self.features]
        if len(layers) == 1:
            return layers[0]
        return {name: SideBySide([layer[name] for layer in layers]) for name in layers[0]}

    def reader(self, open: Open, device: str = "cpu") -> Read:
        """The same for utterances that are stored nowhere, out of their frames in fp16."""
        return lambda found: {
            name: SideBySide([frames[layer] for layer in self.layers]) for name, frames in found.items()
        }

    @property
    def encoder(self) -> EncoderSpec:
        """What gives the frames."""
        return self.features[0].encoder

    @property
    def layers(self) -> tuple[int, ...]:
        """Of the encoder, that are read."""
        return tuple(features.layer for features in self.features)

    def spec(self, open: Open) -> SpeechSpec:
        """Dimension, mean and deviation of the frames, and how many are concatenated."""
        samples = [read_sample(open(sample)) for sample in self.samples]
        return SpeechSpec(
            kind="continuous",
            dimension=len(samples[0]["mean"]),
            layers=len(samples),
            concatenate=self.downsample,
            mean=tuple(float(value) for sample in samples for value in sample["mean"]),
            std=tuple(float(value) for sample in samples for value in sample["std"]),
        )

    def cost(self, open: Open) -> dict[str, float | None]:
        """Positions a second after concatenation; bits of the raw frames as stored, of all layers that are read."""
        rate = self.features[0].encoder.frame_rate
        dimensions = sum(f.encoder.dimension_of(f.layer) for f in self.features)
        return {
            "tokens_per_second_of_audio": rate / self.downsample,
            "bits_per_second": float(BITS_STORED * dimensions * rate),
        }

    @property
    def indexed(self) -> tuple[Stage, ...]:
        """The stages whose indexes say which utterances have frames."""
        return self.features


class _OfUnits:
    """What speech that is made of units has in common."""

    units: Units

    @property
    def encoder(self) -> EncoderSpec:
        """What gives the frames that become units."""
        return self.units.encoder

    @property
    def layers(self) -> tuple[int, ...]:
        """Of the encoder, that are read."""
        return (self.units.layer,)

    @property
    def indexed(self) -> tuple[Stage, ...]:
        """The stages whose indexes say which utterances have frames."""
        return (self.units,)


@dataclass(frozen=True, kw_only=True)
class DiscreteSpeech(_OfUnits):
    """Units, de-duplicated or one a frame, or the pieces that a BPE makes of them."""

    kind = "discrete"

    units: Units
    dedup: bool
    bpe: Bpe | None = None

    def load(self, open: Open, ids: Iterable[str]) -> dict[str, np.ndarray]:
        """Tokens int64 `[N]` by utterance."""
        units = read_units(open(self.units), ids, dedup=self.dedup)
        return units if self.bpe is None else encode(read_bpe(open(self.bpe)), units)

    def reader(self, open: Open, device: str = "cpu") -> Read:
        """The same for utterances that are stored nowhere, out of their frames in fp16."""
        quantise = _quantiser(self.units, self.dedup, open, device)
        if self.bpe is None:
            return quantise
        bpe = read_bpe(open(self.bpe))
        return lambda found: encode(bpe, quantise(found))

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


@dataclass(frozen=True, kw_only=True)
class CentroidsSpeech(_OfUnits):
    """The centroids of the units through the adapter: quantised as `discrete` is, looked at as `continuous` is.

    Attributes:
        dedup: one centroid a unit instead of one a frame.
        downsample: how many neighbours are concatenated.
        sample: of the frames of this corpus, whose statistics normalise as those of `continuous` do.
    """

    kind = "centroids"

    units: Units
    dedup: bool
    downsample: int
    sample: Sample

    def load(self, open: Open, ids: Iterable[str]) -> dict[str, Any]:
        """Centroids float32 `[T, D]` (`[N, D]` de-duplicated) by utterance, looked up when they are needed."""
        centroids = read_centroids(open(self.units.codebook))
        units = read_units(open(self.units), ids, dedup=self.dedup)
        return {name: LookedUp(values, centroids) for name, values in units.items()}

    def reader(self, open: Open, device: str = "cpu") -> Read:
        """The same for utterances that are stored nowhere, out of their frames in fp16."""
        quantise = _quantiser(self.units, self.dedup, open, device)
        centroids = read_centroids(open(self.units.codebook))
        return lambda found: {name: LookedUp(values, centroids) for name, values in quantise(found).items()}

    def spec(self, open: Open) -> SpeechSpec:
        """As of continuous frames."""
        sample = read_sample(open(self.sample))
        return SpeechSpec(
            kind="centroids",
            dimension=len(sample["mean"]),
            concatenate=self.downsample,
            mean=tuple(map(float, sample["mean"])),
            std=tuple(map(float, sample["std"])),
        )

    def cost(self, open: Open) -> dict[str, float | None]:
        """Positions a second after concatenation; the bits of the units that the centroids are looked up by."""
        report = open(self.units).json("statistics.json")["deduplicated" if self.dedup else "frames"]
        return {
            "tokens_per_second_of_audio": report["tokens_per_second"] / self.downsample,
            "bits_per_second": report["bits_per_second"],
        }


Speech = NoSpeech | ContinuousSpeech | DiscreteSpeech | CentroidsSpeech


def _quantiser(units: Units, dedup: bool, open: Open, device: str) -> Read:
    """From frames in fp16 to units int64, as `read_units` gives those that are stored."""
    assign = Assigner(read_centroids(open(units.codebook)), device)

    def quantise(found: dict[str, Frames]) -> dict[str, np.ndarray]:
        codes = {name: assign(frames[units.layer]) for name, frames in found.items()}
        return {name: tokens.deduplicate(one)[0] if dedup else one for name, one in codes.items()}

    return quantise


def unreadable(speech: Speech, open: Open) -> dict[str, str]:
    """Utterances that have no frames, with reasons: they count as empty answers, never as absent."""
    if isinstance(speech, NoSpeech):
        return {}
    found: dict[str, str] = {}
    for stage in speech.indexed:
        index = read_index(open(stage))
        broken = index[index["error"].notna()]
        found |= zip(broken["id"], broken["error"], strict=True)
    return found


def load_all(speech: Speech, open: Open, ids: Iterable[str]) -> dict[str, Any]:
    """Speech by utterance, arrays or what becomes one; None for every utterance where there is no speech to give.

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
