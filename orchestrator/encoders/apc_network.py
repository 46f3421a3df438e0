"""The network of autoregressive predictive coding (Chung et al. 2019, arXiv 1904.03240): GRUs that predict log-mels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from orchestrator.encoders.spectral import log_mels


class ApcNetwork(nn.Module):
    """Layers of GRUs over normalised log-mels, residual from the second on; a linear layer predicts a later frame.

    It reads from left to right only, so padding on the right never changes a frame.

    Args:
        bins: of the log-mels.
        hidden: units of each GRU, the dimension of layers 1 to L.
        layers: how many GRUs, L.
    """

    def __init__(self, bins: int, hidden: int, layers: int):
        super().__init__()
        self.rnns = nn.ModuleList(nn.GRU(hidden if i else bins, hidden, batch_first=True) for i in range(layers))
        self.predict = nn.Linear(hidden, bins)
        self.register_buffer("scale", torch.ones(bins))

    def layers(self, x: Tensor, deepest: int | None = None) -> list[Tensor]:
        """Layers 0 to `deepest` of scaled log-mels `[B, T, bins]`: the input, then `[B, T, hidden]` each."""
        found = [x]
        for depth, rnn in enumerate(self.rnns[:deepest]):
            y, _ = rnn(found[-1])
            found.append(y + found[-1] if depth else y)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """What it predicts at each frame of `[B, T, bins]` for a later frame: `[B, T, bins]`."""
        return self.predict(self.layers(x)[-1])

    def inputs(self, waves: Sequence[np.ndarray]) -> list[Tensor]:
        """Layer 0 of waveforms of 400 samples and more: float32 `[T, bins]` each, zero mean per utterance, scaled."""
        frames = (torch.from_numpy(log_mels(wave, bins=len(self.scale), cmn=True)) for wave in waves)
        return [x.to(self.scale) / self.scale for x in frames]


def padded(utterances: Sequence[Tensor]) -> Tensor:
    """`[T, D]` each → `[B, longest T, D]`, zeros on the right."""
    return pad_sequence(list(utterances), batch_first=True)
