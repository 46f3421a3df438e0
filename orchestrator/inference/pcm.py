"""PCM: raw samples, as microphones and sound servers give them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Encoding(StrEnum):
    """How a sample is written: a 16-bit integer or a 32-bit float, little-endian."""

    s16le = "s16le"
    f32le = "f32le"


TYPES = {Encoding.s16le: ("<i2", "PCM_16"), Encoding.f32le: ("<f4", "FLOAT")}
"""As numpy and as WAV files have them."""


@dataclass(frozen=True)
class Pcm:
    """How raw samples are written.

    Attributes:
        rate: Hz.
        channels: interleaved.
    """

    rate: int = 16_000
    channels: int = 1
    encoding: Encoding = Encoding.s16le

    @property
    def bytes_per_second(self) -> int:
        """Of all channels."""
        return self.rate * self.frame

    @property
    def frame(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * (2 if self.encoding is Encoding.s16le else 4)

    def save(self, samples: bytes, path: Path) -> None:
        """Writes samples as a WAV file, exactly; bytes of an incomplete last sample are left out."""
        import numpy as np
        import soundfile

        number, subtype = TYPES[self.encoding]
        values = np.frombuffer(samples[: len(samples) // self.frame * self.frame], number).reshape(-1, self.channels)
        soundfile.write(path, values, self.rate, format="WAV", subtype=subtype)
