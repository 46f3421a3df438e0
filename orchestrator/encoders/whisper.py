"""The encoder half of Whisper (Radford et al. 2022, arXiv 2212.04356): log-mels of a 30 s window, then blocks.

It was trained on windows of exactly 30 s, shorter audio padded with silence, so that is what it is given: an
utterance's frames depend on nothing beside it. Frames beyond the utterance's own length are cut off.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from orchestrator.encoders.checkpoint_encoder import (
    NO_PREPROCESSOR,
    CheckpointEncoder,
    Shape,
    configuration,
    pretrained,
    reading,
    rows,
)
from orchestrator.encoders.encoder import HOP, SAMPLE_RATE, WINDOW

if TYPE_CHECKING:
    from torch import nn
    from transformers import WhisperFeatureExtractor

    from orchestrator.encoders.hf import HuggingFaceSpec

AT_ONCE = 8
"""Windows in one forward pass. A batch bounds the audio in it, and a window is 30 s however short its audio."""
ENCODER_KEYS = {r"^(model\.)?encoder\.": ""}
"""From the names of weights in a whole Whisper to those of its encoder; what is not renamed is not loaded."""


class WhisperEncoder(CheckpointEncoder):
    """The loaded encoder half of a Whisper. Layer 0 is what its convolutions and positions give.

    Args:
        extractor: of log-mels.
    """

    def __init__(self, spec: HuggingFaceSpec, model: nn.Module, extractor: WhisperFeatureExtractor):
        super().__init__(spec, model, model)
        self.extractor = extractor

    @classmethod
    def shape(cls, config: dict[str, Any]) -> Shape:
        return Shape(
            layers=config.get("encoder_layers", 4),
            dimension=config.get("d_model", 384),
            hop=HOP,
            window=WINDOW,
            longest=config.get("max_source_positions", 1500) * HOP,
        )

    @classmethod
    def normalises(cls, preprocessor: dict[str, Any]) -> bool | None:
        return preprocessor.get("do_normalize", False)

    @classmethod
    def problems(cls, config: dict[str, Any], preprocessor: dict[str, Any]) -> list[str]:
        if not preprocessor:
            return [NO_PREPROCESSOR]
        window = preprocessor.get("chunk_length", 30) * SAMPLE_RATE
        checks = {
            "mel bins": (preprocessor.get("feature_size", 80), config.get("num_mel_bins", 80)),
            "samples a window": (window, cls.shape(config).longest),
            "samples a hop": (2 * preprocessor.get("hop_length", HOP // 2), HOP),
        }
        return [
            f"its preprocessor gives {given} {what}, the model takes {taken}: they are not of one checkpoint"
            for what, (given, taken) in checks.items()
            if given != taken
        ]

    @classmethod
    def load(cls, spec: HuggingFaceSpec, folder: Path, blocks: int, device: str) -> Self:
        from transformers import WhisperFeatureExtractor
        from transformers.models.whisper import modeling_whisper

        config = configuration(spec, folder)
        config.encoder_layers = blocks
        model = pretrained(spec, modeling_whisper.WhisperEncoder, folder, config, key_mapping=ENCODER_KEYS)
        extractor = WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        extractor.dither = 0.0  # noise from an unseeded generator
        return cls(spec, model.to(device), extractor)

    def _frames(self, waves: list[np.ndarray], layers: list[int]) -> list[dict[int, np.ndarray]]:
        self.check_loaded(layers[-1])
        found: list[dict[int, np.ndarray]] = []
        for at in range(0, len(waves), AT_ONCE):
            found += self._windows(waves[at : at + AT_ONCE], layers)
        return found

    def _windows(self, waves: list[np.ndarray], layers: list[int]) -> list[dict[int, np.ndarray]]:
        mels = self.extractor(
            waves,
            sampling_rate=SAMPLE_RATE,
            do_normalize=self.spec.normalise,
            device=str(self.model.device),
            return_tensors="pt",
        ).input_features
        with reading(self.stack, layers) as found:
            self.model(mels.to(self.model.device, self.model.dtype))
        return rows(found, [-(-len(wave) // HOP) for wave in waves])
