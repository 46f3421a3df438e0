"""What training costs, in floating-point operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Parameter

    from orchestrator.decoders.model import SpeechLM


def training_flops(model: SpeechLM, tokens: int, squares: int, answers: int) -> float:
    """Floating-point operations of forward and backward passes (Kaplan et al. 2020, arXiv 2001.08361).

    6 an input position for every trained weight of the decoder's layers and the adapter, 4 for every frozen one (no
    gradient of its own is computed), the same an answer token for those of the output layer, and for causal attention
    6 H L² a layer and sequence of L positions (half of all pairs). Tables that are looked up cost nothing. Activations
    that are computed again to save memory are not counted: the same training costs the same.

    Args:
        tokens: positions read, without padding.
        squares: sum of the squared lengths of the sequences.
        answers: tokens predicted.
    """
    table = model.lm.get_input_embeddings().weight
    vocabulary, hidden = table.shape
    body = sum(_cost(p) for p in model.lm.base_model.parameters() if p is not table)
    adapter = sum(_cost(p) for p in model.front.parameters()) if model.speech.dimension else 0
    # The output layer may be the table of embeddings.
    output = (6.0 if model.lm.get_output_embeddings().weight.requires_grad else 4.0) * vocabulary * hidden
    layers = model.lm.config.num_hidden_layers
    return (body + adapter) * tokens + output * answers + 6.0 * hidden * layers * squares


def _cost(weights: Parameter) -> float:
    return (6.0 if weights.requires_grad else 4.0) * weights.numel()
