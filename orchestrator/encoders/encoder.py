"""Encoder: waveforms to frames, layer by layer. EncoderSpec: which encoder, as a part of the identity of a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from orchestrator.errors import StageError, UserError

if TYPE_CHECKING:
    from orchestrator.stage import Stage
    from orchestrator.store import Artifact

SAMPLE_RATE = 16_000
"""Hz, of every waveform that an encoder is given."""

HOP = 320
"""Samples from one frame to the next at 50 frames/s, as HuBERT and its relatives have it."""

WINDOW = 400
"""Samples that a frame sees: 25 ms."""


@dataclass(frozen=True, kw_only=True)
class EncoderSpec(ABC):
    """What an encoder computes; a field of the stages that read it. What is known of it without loading it is here.

    Attributes:
        version: raised whenever the same fields would give other frames.
    """

    version: int = field(default=1, init=False)

    @property
    @abstractmethod
    def name(self) -> str:
        """A short name for people; no part of the identity."""

    @property
    @abstractmethod
    def layers(self) -> int:
        """The deepest layer L. Layer 0 is the input to the first layer, layer i the raw output of the i-th."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """D of the frames `[T, D]` of layer L."""

    def dimension_of(self, layer: int) -> int:
        """D of the frames `[T, D]` of one layer."""
        return self.dimension

    @property
    def frame_rate(self) -> float:
        """Frames per second, nominal: what T really is, the encoder says."""
        return SAMPLE_RATE / HOP

    @property
    def shortest(self) -> int:
        """Samples that one frame needs."""
        return WINDOW

    @property
    def longest(self) -> int | None:
        """Samples that it takes at most; None where there is no limit."""
        return None

    @abstractmethod
    def load(self, open: Callable[[Stage], Artifact], device: str = "cpu", deepest: int | None = None) -> Encoder:
        """Loads the encoder, ready to compute.

        Args:
            open: opens the artifact of a stage, for encoders that are trained here.
            device: where it computes, as torch names it.
            deepest: the deepest layer that will be asked for; layers above it need not be loaded.

        Raises:
            StageError: it can't be loaded.
        """

    def check_layer(self, layer: int) -> None:
        """Raises UserError unless the encoder has this layer."""
        if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer <= self.layers:
            valid = f"layers 0 to {self.layers} (0 is the input to the first)" if self.layers else "layer 0 only"
            raise UserError(f"the encoder '{self.name}' has no layer {layer!r}. It has {valid}.")

    def check_length(self, samples: int) -> None:
        """Raises StageError for a waveform longer than the encoder takes."""
        if self.longest is not None and samples > self.longest:
            raise StageError(
                f"too long for the encoder '{self.name}': {samples / SAMPLE_RATE:.1f} s, it takes at most "
                f"{self.longest / SAMPLE_RATE:g} s. Set max_seconds of the corpus to that, or cut longer recordings "
                "into segments."
            )


class Encoder(ABC):
    """A loaded encoder. Subclasses fill `_frames`; the batches are the caller's, already bounded.

    Args:
        spec: what it was loaded from.
    """

    sample_rate: ClassVar[int] = SAMPLE_RATE

    def __init__(self, spec: EncoderSpec):
        self.spec = spec

    @property
    def frame_rate(self) -> float:
        """Frames per second, nominal."""
        return self.spec.frame_rate

    @property
    def dimension(self) -> int:
        """D of the frames of the deepest layer."""
        return self.spec.dimension

    @property
    def layers(self) -> int:
        """The deepest layer that the encoder has."""
        return self.spec.layers

    def frames(self, waves: Sequence[np.ndarray], layers: Sequence[int]) -> list[dict[int, np.ndarray]]:
        """Encodes a batch. The frames of an utterance don't depend on the others in its batch (1e-5, relative).

        Args:
            waves: float32 `[samples]` each, 16 kHz, mono, of any lengths.
            layers: which layers to return; only the first max(layers) are computed.

        Returns:
            Per utterance, layer → float32 `[T, D]`. T is 0 for an utterance too short for one frame.

        Raises:
            UserError: the encoder has no such layer.
            StageError: an utterance is longer than the encoder takes, or its layers differ in their number of frames.
        """
        wanted = sorted(set(layers))
        for layer in wanted:
            self.spec.check_layer(layer)
        for wave in waves:
            self.spec.check_length(len(wave))
        enough = [index for index, wave in enumerate(waves) if len(wave) >= self.spec.shortest]
        with exactly():
            found = self._frames([waves[index] for index in enough], wanted) if enough and wanted else []
        result = [{layer: np.zeros((0, self.spec.dimension_of(layer)), np.float32) for layer in wanted} for _ in waves]
        for index, one in zip(enough, found, strict=bool(wanted)):
            lengths = {len(frames) for frames in one.values()}
            if len(lengths) != 1:
                raise StageError(f"'{self.spec.name}' gave layers of different lengths for one utterance: {lengths}")
            result[index] = one
        return result

    @abstractmethod
    def _frames(self, waves: list[np.ndarray], layers: list[int]) -> list[dict[int, np.ndarray]]:
        """As `frames`, for a batch that is not empty, of utterances long enough, and for sorted layers."""


@contextmanager
def exactly() -> Iterator[None]:
    """Inference without gradients, and without TF32, whose 10 bits of mantissa torch allows in float32 convolutions."""
    import torch

    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


class EncoderConfig(BaseModel, ABC):
    """An encoder as a search space writes it. Every field has the default of the built-in name."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @abstractmethod
    def spec(self, recordings: Stage, selection: Stage) -> EncoderSpec:
        """The encoder for these recordings.

        Args:
            recordings: what it will encode; encoders that are trained here learn from them.
            selection: which utterances may train it (`ids.json`).

        Raises:
            UserError: what it names is not there.
        """
