"""Encoding: recordings through an encoder, in batches that never depend on who asks for which layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from orchestrator import audio
from orchestrator.encoders import Encoder, EncoderSpec
from orchestrator.errors import StageError
from orchestrator.stages.recordings import Recording

BATCH_SECONDS = 60.0
"""Audio in one batch, padding included. Batched output equals one-by-one output, so this is speed alone."""

Frames = dict[int, np.ndarray]
"""Layer → fp16 frames `[T, D]`."""


class BeyondHalf(StageError):
    """A layer gives values that fp16 can't hold. The encoder's other layers may be sound."""

    def __init__(self, layer: int, worst: float):
        super().__init__(f"layer {layer} gives values that fp16 can't hold (largest magnitude {worst:g})")
        self.layer = layer


def encode(
    encoder: Encoder, recordings: Sequence[Recording], layers: Sequence[int]
) -> Iterator[tuple[Recording, Frames | str]]:
    """Yields every recording with its frames, rounded to fp16, or with the reason why it has none.

    Errors are caught per utterance: one broken file never takes its neighbours down.
    """
    for batch in batches(recordings):
        waves: list[np.ndarray] = []
        healthy: list[Recording] = []
        with ThreadPoolExecutor(2) as pool:
            for recording, wave in zip(
                batch, pool.map(lambda recording: _read(recording, encoder.spec), batch), strict=True
            ):
                if isinstance(wave, str):
                    yield recording, wave
                else:
                    waves.append(wave)
                    healthy.append(recording)
        if not healthy:
            continue
        for recording, frames in zip(healthy, encode_batch(encoder, waves, layers), strict=True):
            yield recording, frames or f"too short for one frame of the encoder ({recording.seconds:.3f} s)"


def encode_batch(encoder: Encoder, waves: Sequence[np.ndarray], layers: Sequence[int]) -> Iterator[Frames | None]:
    """Yields the frames of each waveform of a batch, rounded to fp16; None for one too short for a frame.

    Args:
        waves: float32 `[samples]` each, 16 kHz, mono.
    """
    for frames in encoder.frames(waves, layers):
        if any(len(values) == 0 for values in frames.values()):
            yield None
        else:
            yield {layer: to_half(values, layer) for layer, values in frames.items()}


def batches(recordings: Sequence[Recording]) -> Iterator[list[Recording]]:
    """Cuts recordings, longest first, into batches of at most `BATCH_SECONDS` with padding."""
    batch: list[Recording] = []
    for recording in sorted(recordings, key=lambda r: (-r.seconds, r.id)):
        if batch and (len(batch) + 1) * batch[0].seconds > BATCH_SECONDS:
            yield batch
            batch = []
        batch.append(recording)
    if batch:
        yield batch


def to_half(values: np.ndarray, layer: int) -> np.ndarray:
    """Frames rounded to fp16, the precision in which they are stored and quantised.

    Raises:
        BeyondHalf: a value is NaN or beyond fp16, which would become infinite without a word.
    """
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise BeyondHalf(layer, float(np.abs(values).max()))
    return half


def _read(recording: Recording, spec: EncoderSpec) -> np.ndarray | str:
    try:
        wave = audio.read(*recording.part)
        spec.check_length(len(wave))
        return wave
    except StageError as error:
        return str(error)
