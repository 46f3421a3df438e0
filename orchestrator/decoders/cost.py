"""What training costs, in floating-point operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.decoders.model import SpeechLM


def training_flops(model: SpeechLM, tokens: int, squares: int, answers: int) -> float:
    """Floating-point operations of forward and backward passes (Kaplan et al. 2020, arXiv 2001.08361).

    6 N an input position for the N weights of the decoder's layers and the adapter, 6 H V an answer token for the
    output layer, and for causal attention 6 H L² a layer and sequence of L positions (half of all pairs). Tables that
    are looked up cost nothing.

    Args:
        tokens: positions read, without padding.
        squares: sum of the squared lengths of the sequences.
        answers: tokens predicted.
    """
    table = model.lm.get_input_embeddings().weight
    vocabulary, hidden = table.shape
    body = sum(p.numel() for p in model.lm.base_model.parameters()) - table.numel()
    adapter = sum(p.numel() for p in model.front.parameters()) if model.speech.dimension else 0
    layers = model.lm.config.num_hidden_layers
    return 6.0 * ((body + adapter) * tokens + hidden * vocabulary * answers + hidden * layers * squares)
