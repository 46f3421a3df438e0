"""Analysis: how evenly and how compactly the speech of one task is told, before any decoder is trained on it.

Both arms get a `spectrum`, the eigenvalues of the covariance of training frames: of the frames themselves where they are
continuous, and of the centroids that stand for them where they are units. These are the same quantity in the same
dimensions, so they can be compared: it is what quantising leaves of the spread (k centroids span at most k - 1
directions).

The discrete arm besides has the distribution of its tokens. Its normalised entropy (H / log2 V) and that of a spectrum
(H / log D) both run from 0 (one holds everything) to 1 (all equal), and so do both Lorenz curves. But occurrences of
symbols and variance along directions are different things: a difference between *those two* says how far each is from
its own even state, not which of them carries more information. A raw spectrum moreover depends on the scale of each
dimension, which the adapter takes away: the `normalised` one is what a decoder meets. Neither sees what n concatenated
frames have in common.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, singledispatch
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from safetensors import safe_open

from orchestrator import evenness, spectrum, tokens
from orchestrator.errors import StageError
from orchestrator.stage import Build, Stage
from orchestrator.stages.annotations import Annotations, read_annotations
from orchestrator.stages.bpe import Bpe
from orchestrator.stages.codebook import Codebook, read_centroids
from orchestrator.stages.features import Features
from orchestrator.stages.sample import Sample, read_sample
from orchestrator.stages.speech import BITS_STORED, CentroidsSpeech, ContinuousSpeech, DiscreteSpeech, Speech
from orchestrator.stages.token_counts import Counts, count, frame_counts, with_frames
from orchestrator.stages.units import Units

FEWER_THAN = (1, 5, 10, 100)
"""Tokens seen fewer times than this in training are counted."""
TESTS = "all"
"""Names all test sets of a task together."""


@dataclass(frozen=True, kw_only=True)
class Analysis(Stage):
    """File: `analysis.json`. It covers the utterances that the task has annotations for, and that have frames.

    Always: kind (of speech), quantiles (of places, at which every `curve` is given), utterances, without_frames, seconds,
    frames, frame_rate (nominal, Hz), downsample, positions (rows that the decoder reads), positions_per_second,
    positions_per_utterance (mean, p95, longest), nominal_bits_per_second, bits_per_second (measured), and spectrum: frames
    (how many it is of), variance_kept (1 for frames; for units 1 - held-out inertia / variance of the codebook), and raw
    and normalised (see `spectrum.describe`).

    Of continuous speech: dimension, bits_per_second_concatenated (with the padding of last positions).

    Of tokens: codebook (k), vocabulary (V), dedup, bpe (the vocabulary asked for), units, tokens, entropy_rate,
    nominal_bits_per_second (log2 k · frame rate: of the codes, before de-duplication and BPE), compression (dedup = frames
    / units, bpe = units / tokens, both), mean_run_length (frames; what de-duplication would save where it is off),
    distribution (`tokens.summary` over all these utterances, with its curve over the used types), splits (split →
    utterances, frames, units, and the summary), seen_less (a row for each of FEWER_THAN, see `tokens.seen_less`; each test
    set by name, and `all` together).
    """

    name: ClassVar[str] = "analysis"

    speech: Speech
    annotations: Annotations

    @property
    def readable(self) -> str:
        named = max((s.readable for s in self.inputs if s is not self.annotations), key=len, default=self.speech.kind)
        return f"{self.annotations.column}-{named}"

    @cached_property
    def inputs(self) -> tuple[Stage, ...]:
        """What speech is loaded from, and what its units were assigned by."""
        direct = super().inputs
        codebooks = [s.codebook for s in direct if isinstance(s, Units)]
        behind = [stage for codebook in codebooks for stage in (codebook, codebook.sample)]
        return tuple({s.identity: s for s in (*direct, *behind)}.values())

    def build(self, at: Build) -> None:
        rows = read_annotations(at.open(self.annotations))[["id", "split"]]
        report = {"kind": self.speech.kind, "quantiles": evenness.QUANTILES} | analyse(self.speech, at, rows)
        (at.folder / "analysis.json").write_text(json.dumps(report, allow_nan=False), "utf-8")


@singledispatch
def analyse(speech: Speech, at: Build, rows: pd.DataFrame) -> dict[str, Any]:
    """What `analysis.json` says of one kind of speech. A further kind registers a function of its own here.

    Args:
        rows: id and split of the annotated utterances.
    """
    raise StageError(f"features of kind '{speech.kind}' have nothing to be analysed")


@analyse.register
def _continuous(speech: ContinuousSpeech, at: Build, rows: pd.DataFrame) -> dict[str, Any]:
    if len(speech.features) > 1:
        raise StageError(
            "a weighted sum of layers has frames only once its weights are trained: nothing to analyse before"
        )
    (features,), (sample,) = speech.features, speech.samples
    return continuous(at, rows, features, features.encoder.dimension_of(features.layer), speech.downsample) | {
        "spectrum": spectrum_of_frames(at, sample)
    }


@analyse.register
def _discrete(speech: DiscreteSpeech, at: Build, rows: pd.DataFrame) -> dict[str, Any]:
    return discrete(at, rows, speech.units, dedup=speech.dedup, bpe=speech.bpe)


@analyse.register
def _centroids(speech: CentroidsSpeech, at: Build, rows: pd.DataFrame) -> dict[str, Any]:
    return discrete(at, rows, speech.units, dedup=speech.dedup, downsample=speech.downsample, sample=speech.sample)


def continuous(at: Build, rows: pd.DataFrame, features: Features, dimension: int, downsample: int) -> dict[str, Any]:
    """Lengths and bitrates of continuous frames, `downsample` of them a position."""
    found, without = with_frames(at.open(features), rows)
    lengths = frame_counts(at, found, features)
    frames, seconds, rate = int(lengths.sum()), float(found["seconds"].sum()), features.encoder.frame_rate
    reads, bits = _positions(lengths, downsample, seconds), BITS_STORED * dimension
    return {
        "utterances": len(found),
        "without_frames": without,
        "seconds": round(seconds, 3),
        "frames": frames,
        "frame_rate": rate,
        "downsample": downsample,
        **reads,
        "dimension": dimension,
        "nominal_bits_per_second": float(bits * rate),
        "bits_per_second": bits * _ratio(frames, seconds),
        "bits_per_second_concatenated": bits * downsample * reads["positions_per_second"],
    }


def discrete(
    at: Build,
    rows: pd.DataFrame,
    units: Units,
    dedup: bool,
    bpe: Bpe | None = None,
    downsample: int = 1,
    sample: Sample | None = None,
) -> dict[str, Any]:
    """Everything about units, or the pieces that a BPE makes of them, `downsample` of them a position.

    Args:
        sample: whose deviations normalise the dimensions; that of the codebook by default.
    """
    found, without = with_frames(at.open(units), rows)
    splits, lengths = count(at, found, sorted(set(rows["split"])), units, dedup, bpe)
    k, vocabulary, rate = units.codebook.k, len(next(iter(splits.values())).tokens), units.encoder.frame_rate
    nothing = Counts.none(k, vocabulary)
    every, train = sum(splits.values(), nothing), splits.get("train", nothing)
    tests = {name: counts.tokens for name, counts in splits.items() if name not in ("train", "dev")}
    tests[TESTS] = sum(tests.values(), nothing.tokens)
    distribution = tokens.summary(every.tokens, every.seconds)
    given = every.units if dedup else every.frames
    return {
        "utterances": every.utterances,
        "without_frames": without,
        "seconds": round(every.seconds, 3),
        "frames": every.frames,
        "frame_rate": rate,
        "downsample": downsample,
        **_positions(lengths, downsample, every.seconds),
        "codebook": k,
        "vocabulary": vocabulary,
        "dedup": dedup,
        "bpe": bpe.vocabulary if bpe else None,
        "units": every.units,
        "tokens": distribution["tokens"],
        "nominal_bits_per_second": float(np.log2(k) * rate),
        "bits_per_second": distribution["bits_per_second"],
        "entropy_rate": distribution["entropy_rate"],
        "compression": {
            "dedup": _ratio(every.frames, given),
            "bpe": _ratio(given, distribution["tokens"]),
            "both": _ratio(every.frames, distribution["tokens"]),
        },
        "mean_run_length": _ratio(every.frames, every.units),
        "distribution": distribution | {"curve": evenness.curve(every.tokens[every.tokens > 0])},
        "splits": {
            name: {"utterances": counts.utterances, "frames": counts.frames, "units": counts.units}
            | tokens.summary(counts.tokens, counts.seconds)
            for name, counts in splits.items()
        },
        "seen_less": [tokens.seen_less(train.tokens, tests, n) for n in FEWER_THAN],
        "spectrum": spectrum_of_units(at, units.codebook, sample or units.codebook.sample, train.codes),
    }


def spectrum_of_frames(at: Build, sample: Sample) -> dict[str, Any]:
    """Of the frames of a sample; normalised by the deviations that the adapter divides by."""
    read = read_sample(at.open(sample))
    return _spectrum(spectrum.covariance(read["frames"]), read["std"], len(read["frames"]), kept=1.0)


def spectrum_of_units(at: Build, codebook: Codebook, sample: Sample, codes: np.ndarray) -> dict[str, Any]:
    """The same, of the centroids that stand for the training frames: code i stands for `codes[i]` of them."""
    artifact = at.open(codebook)
    with safe_open(at.open(sample).file("sample.safetensors"), "numpy") as file:
        deviation = file.get_tensor("std")
    judged = artifact.json("statistics.json")
    kept = 1 - _ratio(judged["held_out_inertia"], judged["total_variance"])
    return _spectrum(spectrum.weighted_covariance(read_centroids(artifact), codes), deviation, int(codes.sum()), kept)


def _spectrum(covariance: np.ndarray, deviation: np.ndarray, frames: int, kept: float) -> dict[str, Any]:
    return {
        "frames": frames,
        "variance_kept": kept,
        "raw": spectrum.describe(covariance),
        "normalised": spectrum.describe(spectrum.scaled(covariance, deviation)),
    }


def _positions(lengths: np.ndarray, downsample: int, seconds: float) -> dict[str, Any]:
    """What the decoder reads: an utterance of `lengths[i]` frames or tokens has a position for every `downsample` of them."""
    positions = -(-lengths // downsample)
    return {
        "positions": int(positions.sum()),
        "positions_per_second": _ratio(int(positions.sum()), seconds),
        "positions_per_utterance": {
            "mean": float(positions.mean()) if len(positions) else 0.0,
            "p95": float(np.percentile(positions, 95)) if len(positions) else 0.0,
            "longest": int(positions.max(initial=0)),
        },
    }


def _ratio(amount: float, of: float) -> float:
    return amount / of if of > 0 else 0.0
