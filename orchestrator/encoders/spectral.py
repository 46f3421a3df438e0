"""Spectral encoders: log-mel filterbanks and MFCCs, as Kaldi defines them, at 50 frames/s. They have layer 0 only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from orchestrator.encoders.encoder import HOP, SAMPLE_RATE, WINDOW, Encoder, EncoderConfig, EncoderSpec

if TYPE_CHECKING:
    import torch

    from orchestrator.stage import Stage
    from orchestrator.store import Artifact


class LogmelConfig(EncoderConfig):
    """Log-mel filterbanks."""

    bins: int = Field(default=80, ge=8, le=128)
    cmn: bool = True

    def spec(self, recordings: Stage, selection: Stage) -> SpectralSpec:
        return SpectralSpec(kind="logmel", bins=self.bins, cmn=self.cmn)


class MfccConfig(EncoderConfig):
    """Mel-frequency cepstral coefficients, with first and second differences."""

    bins: int = Field(default=40, ge=8, le=128)
    coefficients: int = Field(default=13, ge=2, le=40)
    deltas: bool = True
    cmn: bool = True

    def spec(self, recordings: Stage, selection: Stage) -> SpectralSpec:
        return SpectralSpec(
            kind="mfcc",
            bins=self.bins,
            coefficients=min(self.coefficients, self.bins),
            deltas=self.deltas,
            cmn=self.cmn,
        )


@dataclass(frozen=True, kw_only=True)
class SpectralSpec(EncoderSpec):
    """A spectral encoder.

    Attributes:
        kind: log-mel filterbanks or MFCCs.
        bins: of the mel filterbank.
        coefficients: of the MFCCs, the zeroth included; unused for log-mels.
        deltas: whether MFCCs come with their first and second differences; unused for log-mels.
        cmn: subtract each utterance's mean frame (it takes away the microphone, and the loudness).
    """

    kind: Literal["logmel", "mfcc"] = "logmel"
    bins: int = 80
    coefficients: int = 13
    deltas: bool = True
    cmn: bool = True

    @property
    def name(self) -> str:
        return self.kind

    @property
    def layers(self) -> int:
        return 0

    @property
    def dimension(self) -> int:
        return self.bins if self.kind == "logmel" else self.coefficients * (3 if self.deltas else 1)

    def load(self, open: Callable[[Stage], Artifact], device: str = "cpu", deepest: int | None = None) -> Encoder:
        return SpectralEncoder(self)


class SpectralEncoder(Encoder):
    """Computes on the CPU, one utterance after the other."""

    spec: SpectralSpec

    def _frames(self, waves: list[np.ndarray], layers: list[int]) -> list[dict[int, np.ndarray]]:
        return [{0: self._one(wave)} for wave in waves]

    def _one(self, wave: np.ndarray) -> np.ndarray:
        spec = self.spec
        if spec.kind == "logmel":
            return log_mels(wave, bins=spec.bins, cmn=spec.cmn)
        return mfccs(wave, bins=spec.bins, coefficients=spec.coefficients, deltas=spec.deltas, cmn=spec.cmn)


def log_mels(wave: np.ndarray, *, bins: int, cmn: bool) -> np.ndarray:
    """Log-mel energies of a waveform of at least 400 samples: float32 `[T, bins]`, T = 1 + (samples - 400) // 320."""
    from torchaudio.compliance import kaldi

    frames = kaldi.fbank(_pcm(wave), num_mel_bins=bins, **_framing()).numpy()
    return frames - frames.mean(axis=0) if cmn else frames


def mfccs(wave: np.ndarray, *, bins: int, coefficients: int, deltas: bool, cmn: bool) -> np.ndarray:
    """MFCCs of a waveform of at least 400 samples: float32 `[T, coefficients]`, times 3 with their differences."""
    import torch
    from torchaudio.compliance import kaldi
    from torchaudio.functional import compute_deltas

    static = kaldi.mfcc(_pcm(wave), num_mel_bins=bins, num_ceps=coefficients, **_framing())
    if cmn:
        static = static - static.mean(dim=0)
    if not deltas:
        return static.numpy()
    first = compute_deltas(static.T)
    return torch.cat([static.T, first, compute_deltas(first)]).T.contiguous().numpy()


def _framing() -> dict[str, Any]:
    # No dither: it is noise from an unseeded generator.
    milliseconds = 1000 / SAMPLE_RATE
    return {
        "sample_frequency": SAMPLE_RATE,
        "frame_length": WINDOW * milliseconds,
        "frame_shift": HOP * milliseconds,
        "dither": 0.0,
    }


def _pcm(wave: np.ndarray) -> torch.Tensor:
    """A waveform in ±1 as `[1, samples]` in the range of 16-bit integers, for which Kaldi's energy floor is meant."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(wave, np.float32))[None] * 32768.0
