"""Shapes of well-known encoders as they were published, for plans on machines that don't have them yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.encoders.encoder import Encoder, EncoderSpec
from orchestrator.encoders.hf import CHECKPOINTS, FAMILIES, Dtype, HfConfig, HuggingFaceSpec
from orchestrator.errors import StageError

if TYPE_CHECKING:
    from orchestrator.stage import Stage
    from orchestrator.store import Artifact

PUBLISHED: dict[str, tuple[str, int, int]] = {
    "facebook/hubert-base-ls960": ("hubert", 12, 768),
    "facebook/hubert-large-ll60k": ("hubert", 24, 1024),
    "microsoft/wavlm-base-plus": ("wavlm", 12, 768),
    "microsoft/wavlm-large": ("wavlm", 24, 1024),
    "facebook/wav2vec2-base": ("wav2vec2", 12, 768),
    "facebook/wav2vec2-large-lv60": ("wav2vec2", 24, 1024),
    "facebook/wav2vec2-xls-r-300m": ("wav2vec2", 24, 1024),
    "facebook/mms-300m": ("wav2vec2", 24, 1024),
    "facebook/data2vec-audio-base": ("data2vec-audio", 12, 768),
    "facebook/data2vec-audio-large": ("data2vec-audio", 24, 1024),
    "openai/whisper-tiny": ("whisper", 4, 384),
    "openai/whisper-base": ("whisper", 6, 512),
    "openai/whisper-small": ("whisper", 12, 768),
    "openai/whisper-medium": ("whisper", 24, 1024),
    "openai/whisper-large-v3": ("whisper", 32, 1280),
    "facebook/w2v-bert-2.0": ("wav2vec2-bert", 24, 1024),
}
"""Family, layers and dimension of the encoder, by hub id."""


@dataclass(frozen=True, kw_only=True)
class UnknownEncoder(EncoderSpec):
    """Stands in a plan for a checkpoint of which nothing is known: every layer may be there, frames have no size."""

    checkpoint: str
    content: str
    dtype: Dtype

    @property
    def name(self) -> str:
        return self.checkpoint.rpartition("/")[2]

    @property
    def layers(self) -> int:
        return 0

    @property
    def dimension(self) -> int:
        return 0

    def check_layer(self, layer: int) -> None:
        pass

    def load(self, open: Callable[[Stage], Artifact], device: str = "cpu", deepest: int | None = None) -> Encoder:
        raise StageError(f"the checkpoint '{self.checkpoint}' is not at hand")


def stand_in(config: HfConfig, content: str) -> EncoderSpec:
    """What stands in a plan for a checkpoint that is not at hand, with its published shape where that is known."""
    checkpoint = CHECKPOINTS.get(config.checkpoint, config.checkpoint)
    if checkpoint not in PUBLISHED:
        return UnknownEncoder(checkpoint=checkpoint, content=content, dtype=config.dtype)
    family, layers, dimension = PUBLISHED[checkpoint]
    sizes = {"num_hidden_layers": layers, "hidden_size": dimension, "encoder_layers": layers, "d_model": dimension}
    shape = FAMILIES[family].shape(sizes)
    normalise = bool(config.normalise)
    return HuggingFaceSpec(checkpoint=checkpoint, content=content, normalise=normalise, dtype=config.dtype, shape=shape)
