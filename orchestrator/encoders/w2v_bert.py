"""w2v-BERT 2.0 (Seamless Communication 2023, arXiv 2312.05187): filterbanks, two frames stacked, then conformer blocks.

Padding on the right never reaches a real frame: the filterbanks and their normalisation are made per utterance, the
conformers' convolutions look to the left only, and their attention is masked.
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
    from torch import Tensor, nn
    from transformers import SeamlessM4TFeatureExtractor

    from orchestrator.encoders.hf import HuggingFaceSpec

STACKED = 2
"""Filterbank frames, at 100 a second, that make one frame of the encoder."""


class W2vBertEncoder(CheckpointEncoder):
    """A loaded w2v-BERT. Layer 0 is its projected filterbanks.

    Args:
        extractor: of filterbanks.
    """

    def __init__(self, spec: HuggingFaceSpec, model: nn.Module, extractor: SeamlessM4TFeatureExtractor):
        super().__init__(spec, model, model.encoder)
        self.extractor = extractor

    @classmethod
    def shape(cls, config: dict[str, Any]) -> Shape:
        return Shape(
            layers=config.get("num_hidden_layers", 24),
            dimension=config.get("hidden_size", 1024),
            hop=HOP,
            window=WINDOW + HOP // STACKED,
        )

    @classmethod
    def normalises(cls, preprocessor: dict[str, Any]) -> bool | None:
        return True  # per mel bin; its preprocessor has no setting for it

    @classmethod
    def problems(cls, config: dict[str, Any], preprocessor: dict[str, Any]) -> list[str]:
        if not preprocessor:
            return [NO_PREPROCESSOR]
        stacked, bins = preprocessor.get("stride", STACKED), preprocessor.get("num_mel_bins", 80)
        taken = config.get("feature_projection_input_dim", 160)
        if stacked == STACKED and bins * stacked == taken:
            return []
        return [
            f"its preprocessor stacks {stacked} frames of {bins} mel bins, the model takes {STACKED} of "
            f"{taken / STACKED:g}: they are not of one checkpoint"
        ]

    @classmethod
    def load(cls, spec: HuggingFaceSpec, folder: Path, blocks: int, device: str) -> Self:
        from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertModel

        config = configuration(spec, folder)
        config.num_hidden_layers = blocks
        config.use_intermediate_ffn_before_adapter = False
        config.add_adapter = False
        model = pretrained(spec, Wav2Vec2BertModel, folder, config).to(device)
        extractor = SeamlessM4TFeatureExtractor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return cls(spec, model, extractor)

    def _frames(self, waves: list[np.ndarray], layers: list[int]) -> list[dict[int, np.ndarray]]:
        import torch
        from torch.nn.utils.rnn import pad_sequence

        self.check_loaded(layers[-1])
        filterbanks = [self._filterbanks(wave) for wave in waves]
        lengths = [len(one) for one in filterbanks]
        x = pad_sequence(filterbanks, batch_first=True).to(self.model.device, self.model.dtype)
        mask = torch.arange(x.shape[1], device=x.device) < torch.tensor(lengths, device=x.device)[:, None]
        with reading(self.stack, layers) as found:
            x, _ = self.model.feature_projection(x)
            self.stack(x, attention_mask=mask)
        return rows(found, lengths)

    def _filterbanks(self, wave: np.ndarray) -> Tensor:
        """One waveform's normalised filterbanks, two frames stacked: float32 `[T, 160]`."""
        import torch

        made = self.extractor(
            wave,
            sampling_rate=SAMPLE_RATE,
            do_normalize_per_mel_bins=self.spec.normalise,
            return_tensors="np",
        )
        # A single last frame, which padding would complete, is masked by the extractor: it is no frame.
        length = int(made["attention_mask"][0].sum())
        return torch.from_numpy(made["input_features"][0, :length].astype(np.float32))
