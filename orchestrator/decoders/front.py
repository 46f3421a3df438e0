"""Front ends: how speech becomes rows that the decoder reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orchestrator.decoders.spec import SpeechSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MULTIPLE = 64
"""The vocabulary grows to a multiple of this: matrices of odd sizes are slow on GPUs."""


class Adapter(nn.Module):
    """Frames, normalised per dimension, n neighbours concatenated, through one linear layer.

    Frames of several layers are summed first, with weights that are learned and begin equal (SUPERB, arXiv 2105.01051).

    Attributes:
        layers: `[layers]`, of which the softmax gives the weights; None with a single layer.
    """

    def __init__(self, speech: SpeechSpec, hidden: int):
        super().__init__()
        self.n, self.dimension = speech.concatenate, speech.dimension
        mean = torch.tensor(speech.mean or [0.0] * speech.width)
        std = torch.tensor(speech.std or [1.0] * speech.width)
        # They are part of the spec, so they need no place among the weights.
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("scale", 1 / torch.where(std > 1e-8, std, 1.0), persistent=False)
        self.layers = nn.Parameter(torch.zeros(speech.layers)) if speech.layers > 1 else None
        self.linear = nn.Linear(self.n * speech.dimension, hidden)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames `[S · n, layers · D]` to rows `[S, H]`."""
        x = (frames - self.mean) * self.scale
        if self.layers is not None:
            x = torch.einsum("l,sld->sd", self.layers.softmax(0), x.view(len(x), -1, self.dimension))
        return self.linear(x.reshape(-1, self.n * self.dimension))


class AddedRows(nn.Module):
    """The rows for speech of a decoder whose own tables are frozen: they alone are trained, and read in place of theirs.

    Attributes:
        input: `[tokens, H]` float32.
        output: `[tokens, H]` float32, None where the decoder's output layer is its table of embeddings.
    """

    def __init__(self, lm: PreTrainedModel, first: int, tokens: int):
        super().__init__()
        table, head = lm.get_input_embeddings().weight, lm.get_output_embeddings()
        self.first = first
        self.input = nn.Parameter(torch.zeros(tokens, table.shape[1]))
        self.output = None if head.weight is table else nn.Parameter(torch.zeros(tokens, table.shape[1]))
        head.register_forward_hook(self._replaced)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens `[S]` to rows `[S, H]`."""
        return F.embedding(tokens, self.input)

    def _replaced(self, head: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        """The output layer's logits, those of speech from the rows that are trained."""
        rows = self.input if self.output is None else self.output
        ours = F.linear(inputs[0], rows.to(inputs[0].dtype)).to(logits.dtype)
        return torch.cat([logits[..., : self.first], ours, logits[..., self.first + len(rows) :]], -1)


@torch.no_grad()
def grow(lm: PreTrainedModel, tokens: int) -> None:
    """Adds rows for so many speech tokens to a decoder's tables, all at the mean of the rows that were there."""
    first = lm.get_input_embeddings().weight.shape[0]
    is_trained = lm.get_input_embeddings().weight.requires_grad
    lm.resize_token_embeddings(first + tokens, pad_to_multiple_of=MULTIPLE, mean_resizing=False)
    for layer in (lm.get_input_embeddings(), lm.get_output_embeddings()):
        layer.weight[first:] = layer.weight[:first].float().mean(0).to(layer.weight.dtype)
        layer.weight.requires_grad_(is_trained)
