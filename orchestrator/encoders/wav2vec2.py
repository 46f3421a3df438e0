"""HuBERT, wav2vec 2.0 and data2vec-audio, and what WavLM shares with them: convolutions over the waveform, then blocks.

Batched frames equal those of an utterance alone. Convolutions are what breaks that: a group norm takes its statistics
over the padding, and stacked positional convolutions carry padding into real frames. So every convolution runs per
utterance, and the transformer, with a mask, per batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from orchestrator.encoders.checkpoint_encoder import CheckpointEncoder, Shape, configuration, pretrained, reading, rows
from orchestrator.errors import StageError

if TYPE_CHECKING:
    from torch import Tensor

    from orchestrator.encoders.hf import HuggingFaceSpec


class Wav2Vec2Encoder(CheckpointEncoder):
    """A loaded HuBERT, wav2vec 2.0 or data2vec-audio."""

    @classmethod
    def shape(cls, config: dict[str, Any]) -> Shape:
        # A key that a checkpoint leaves out has the default of all.
        kernels = config.get("conv_kernel", (10, 3, 3, 3, 3, 2, 2))
        strides = config.get("conv_stride", (5, 2, 2, 2, 2, 2, 2))
        return Shape(
            layers=config.get("num_hidden_layers", 12),
            dimension=config.get("hidden_size", 768),
            hop=prod(strides),
            window=1 + sum((kernel - 1) * prod(strides[:depth]) for depth, kernel in enumerate(kernels)),
        )

    @classmethod
    def normalises(cls, preprocessor: dict[str, Any]) -> bool | None:
        return preprocessor.get("do_normalize")

    @classmethod
    def load(cls, spec: HuggingFaceSpec, folder: Path, blocks: int, device: str) -> Self:
        from transformers import AutoModel

        config = configuration(spec, folder)
        config.num_hidden_layers = blocks
        config.add_adapter = False
        model = pretrained(spec, AutoModel, folder, config).to(device)
        return cls(spec, model, model.encoder)

    def _frames(self, waves: list[np.ndarray], layers: list[int]) -> list[dict[int, np.ndarray]]:
        import torch
        from torch.nn.utils.rnn import pad_sequence

        self.check_loaded(layers[-1])
        convolved = [self._convolved(wave) for wave in waves]
        lengths = [len(one) for one in convolved]
        x = pad_sequence(convolved, batch_first=True)
        mask = torch.arange(x.shape[1], device=x.device) < torch.tensor(lengths, device=x.device)[:, None]
        with reading(self.stack, layers) as found, self._positions_alone(lengths):
            # The mask must be boolean: the encoder inverts it bit by bit.
            self.stack(x, attention_mask=mask)
        for layer in layers:
            if found[layer].shape[:2] != x.shape[:2]:
                raise StageError(
                    f"layer {layer} of '{self.spec.name}' has frames {tuple(found[layer].shape[:2])} "
                    f"where its convolutions gave {tuple(x.shape[:2])} (utterances, frames)"
                )
        return rows(found, lengths)

    def _convolved(self, wave: np.ndarray) -> Tensor:
        """One waveform through the convolutions and the projection: `[T, hidden size]`."""
        import torch

        wave = np.ascontiguousarray(wave, np.float32)
        if self.spec.normalise:
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        x = torch.from_numpy(wave)[None].to(self.model.device, self.model.dtype)
        x = self.model.feature_projection(self.model.feature_extractor(x).transpose(1, 2))
        return (x[0] if isinstance(x, tuple) else x)[0]

    @contextmanager
    def _positions_alone(self, lengths: list[int]) -> Iterator[None]:
        """The positional convolutions run per utterance, without padding."""
        convolution = self.stack.pos_conv_embed
        padded_forward = convolution.forward

        def each_alone(x: Tensor) -> Tensor:
            alone = x.new_zeros(x.shape)
            for row, length in enumerate(lengths):
                alone[row, :length] = padded_forward(x[row : row + 1, :length])[0]
            return alone

        convolution.forward = each_alone
        try:
            yield
        finally:
            del convolution.forward
