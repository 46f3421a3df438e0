"""WavLM with fused attention: transformers has it eager only, which writes and keeps the weights of every head."""

from __future__ import annotations

from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any, Self

from orchestrator.encoders.wav2vec2 import Wav2Vec2Encoder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from orchestrator.encoders.hf import HuggingFaceSpec


class WavLMEncoder(Wav2Vec2Encoder):
    """A loaded WavLM. The attention of this model alone is replaced; transformers stays as it is."""

    @classmethod
    def load(cls, spec: HuggingFaceSpec, folder: Path, blocks: int, device: str) -> Self:
        encoder = super().load(spec, folder, blocks, device)
        fuse(encoder.blocks)
        return encoder


def fuse(blocks: nn.ModuleList) -> None:
    """Gives the attention modules of these WavLM blocks a fused forward, with the same output (1e-5, relative)."""
    for block in blocks:
        block.attention.forward = MethodType(_attention, block.attention)


def _attention(
    module: nn.Module,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None, Tensor]:
    """Attention with the gated relative position bias of WavLM (Chen et al. 2022, arXiv 2110.13900, section 3.2).

    Args:
        module: the WavLMAttention whose weights are used.
        hidden_states: `[B, T, D]`.
        attention_mask: bool `[B, T]`, true for real frames.
        position_bias: `[1, heads, T, T]`, which the first block makes and all share.

    Returns:
        `[B, T, D]`, no weights, and the position bias.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    batch, length, _ = hidden_states.shape
    if position_bias is None:
        position_bias = _position_bias(module, length)
    heads = hidden_states.view(batch, length, module.num_heads, module.head_dim).transpose(1, 2)
    gates = module.gru_rel_pos_linear(heads).unflatten(-1, (2, 4)).sum(-1).sigmoid()
    update, reset = gates.chunk(2, dim=-1)
    gate = update * (reset * module.gru_rel_pos_const - 1.0) + 2.0
    padding = hidden_states.new_zeros(1 if attention_mask is None else (batch, 1, 1, length))
    if attention_mask is not None:
        padding.masked_fill_(~attention_mask[:, None, None, :].bool(), float("-inf"))
    bias = torch.addcmul(padding, gate, position_bias)  # in one go: it is as large as all weights of all heads

    def split(x: Tensor) -> Tensor:
        return x.view(batch, length, module.num_heads, module.head_dim).transpose(1, 2)

    query, key, value = (split(part(hidden_states)) for part in (module.q_proj, module.k_proj, module.v_proj))
    output = scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return module.out_proj(output.transpose(1, 2).flatten(2)), None, position_bias


def _position_bias(module: nn.Module, length: int) -> Tensor:
    """`[1, heads, T, T]`. It depends on the distance alone: looked up once a distance, not once a pair of frames."""
    import torch

    distances = torch.arange(1 - length, length, device=module.rel_attn_embed.weight.device)
    values = module.rel_attn_embed(module._relative_positions_bucket(distances)).T
    # Row i holds the distances -i to T - 1 - i.
    return values.unfold(1, length, 1).flip(1)[None].contiguous()
