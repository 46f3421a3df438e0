"""Encoders: waveforms to frames `[T, D]` per layer. To add one, write a file like these and a line below."""

from orchestrator.encoders.apc import ApcConfig
from orchestrator.encoders.encoder import Encoder, EncoderConfig, EncoderSpec
from orchestrator.encoders.hf import CHECKPOINTS, HfConfig
from orchestrator.encoders.spectral import LogmelConfig, MfccConfig

ENCODERS: dict[str, type[EncoderConfig]] = {
    "logmel": LogmelConfig,
    "mfcc": MfccConfig,
    "apc": ApcConfig,
    "hf": HfConfig,
}
"""The kinds of encoder that a space can define. All but `hf`, which needs a checkpoint, work without a definition."""

PRESETS: dict[str, EncoderConfig] = {name: HfConfig(checkpoint=name) for name in CHECKPOINTS}
"""Known checkpoints, which a grid can name without a definition."""


def names() -> list[str]:
    """What a grid can name without a definition."""
    return [*(kind for kind in ENCODERS if kind != "hf"), *PRESETS]


def config(name: str) -> EncoderConfig:
    """The encoder of one of these names."""
    return PRESETS[name] if name in PRESETS else ENCODERS[name]()


__all__ = ["ENCODERS", "PRESETS", "Encoder", "EncoderConfig", "EncoderSpec", "config", "names"]
