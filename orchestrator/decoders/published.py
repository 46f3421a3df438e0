"""Configurations of well-known decoders as they were published, for plans on machines that don't have them yet."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import checkpoints, hub
from orchestrator.decoders.hf import HfSpec
from orchestrator.decoders.spec import DecoderSpec
from orchestrator.decoders.tiny import TinySpec

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def _shape(
    model_type: str, hidden: int, layers: int, heads: int, kv_heads: int, intermediate: int, vocabulary: int, tied: bool
) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": intermediate,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
    }


PUBLISHED: dict[str, dict[str, Any]] = {
    "HuggingFaceTB/SmolLM2-135M": _shape("llama", 576, 30, 9, 3, 1536, 49152, True),
    "Qwen/Qwen1.5-0.5B": _shape("qwen2", 1024, 24, 16, 16, 2816, 151936, True),
    "Qwen/Qwen2.5-0.5B": _shape("qwen2", 896, 24, 14, 2, 4864, 151936, True),
    "Qwen/Qwen2.5-1.5B": _shape("qwen2", 1536, 28, 12, 2, 8960, 151936, True),
    "Qwen/Qwen2.5-3B": _shape("qwen2", 2048, 36, 16, 2, 11008, 151936, True),
    "Qwen/Qwen2.5-7B": _shape("qwen2", 3584, 28, 28, 4, 18944, 152064, False),
    "meta-llama/Llama-3.2-1B": _shape("llama", 2048, 16, 32, 8, 8192, 128256, True),
    "meta-llama/Llama-3.2-3B": _shape("llama", 3072, 28, 24, 8, 8192, 128256, True),
    "meta-llama/Llama-3.1-8B": _shape("llama", 4096, 32, 32, 8, 14336, 128256, False),
}
"""What of a checkpoint's config.json decides its size, by hub id. Where the checkpoint is at hand its own file is read."""


def values_of(decoder: DecoderSpec) -> dict[str, Any] | None:
    """What decides the size of a decoder's causal LM, in plain values; None where it can't be known here."""
    if not isinstance(decoder, HfSpec):
        return asdict(decoder)
    found: Path | None = Path(decoder.checkpoint).expanduser() / checkpoints.CONFIG
    if not found.is_file():
        commit = checkpoints.commit_in(decoder.content)
        found = hub.in_cache(decoder.checkpoint, commit)(checkpoints.CONFIG)
    if found is None:
        return PUBLISHED.get(decoder.checkpoint)
    at_hand = checkpoints.Checkpoint(decoder.checkpoint, decoder.content, {checkpoints.CONFIG: found})
    return at_hand.json(checkpoints.CONFIG)


def configuration(decoder: DecoderSpec) -> PretrainedConfig | None:
    """The configuration of a decoder's causal LM, without its weights; None where it can't be known here."""
    from transformers import AutoConfig

    if isinstance(decoder, TinySpec):
        return decoder.config(decoder.text_vocabulary + 2)  # what its text takes at most, and three tokens of its own
    values = values_of(decoder)
    if values is None:
        return None
    return AutoConfig.for_model(**values)
