"""Decoders: speech LLMs, their training and their answers. What needs torch is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchestrator.decoders.hf import HfDecoderConfig, HfSpec
from orchestrator.decoders.lora import LoraSettings
from orchestrator.decoders.spec import (
    DecoderConfig,
    DecoderSpec,
    Example,
    Prompt,
    Recipe,
    SpeechSpec,
    check_template,
)
from orchestrator.decoders.tiny import TinyConfig, TinySpec

if TYPE_CHECKING:
    from orchestrator.decoders.decoding import answer
    from orchestrator.decoders.model import SpeechLM, load, save
    from orchestrator.decoders.result import TrainingResult
    from orchestrator.decoders.training import train

DECODERS: dict[str, type[DecoderConfig]] = {
    "tiny": TinyConfig,
    "hf": HfDecoderConfig,
}
"""Kinds of decoders by the `kind` of their definition; those that need no settings are names in a search space, too."""

_LARGE: dict[str, Any] = {"lora": LoraSettings(), "dtype": "bfloat16", "gradient_checkpointing": True}
"""How decoders of three billion weights and more are trained: with their optimiser, all of them outgrow one GPU."""

PRESETS: dict[str, DecoderConfig] = {
    "smollm2-135m": HfDecoderConfig(checkpoint="HuggingFaceTB/SmolLM2-135M"),
    "qwen1.5-0.5b": HfDecoderConfig(checkpoint="Qwen/Qwen1.5-0.5B"),
    "qwen2.5-0.5b": HfDecoderConfig(checkpoint="Qwen/Qwen2.5-0.5B"),
    "qwen2.5-1.5b": HfDecoderConfig(checkpoint="Qwen/Qwen2.5-1.5B"),
    "qwen2.5-3b": HfDecoderConfig(checkpoint="Qwen/Qwen2.5-3B", **_LARGE),
    "qwen2.5-7b": HfDecoderConfig(checkpoint="Qwen/Qwen2.5-7B", **_LARGE),
    "llama3.2-1b": HfDecoderConfig(checkpoint="meta-llama/Llama-3.2-1B"),
    "llama3.2-3b": HfDecoderConfig(checkpoint="meta-llama/Llama-3.2-3B", **_LARGE),
    "llama3.1-8b": HfDecoderConfig(checkpoint="meta-llama/Llama-3.1-8B", **_LARGE),
}
"""Decoders that a search space may name without a definition. Those of Llama need their licence to be accepted."""


def names() -> list[str]:
    """What a grid can name without a definition."""
    return [*(kind for kind in DECODERS if kind != "hf"), *PRESETS]


def config(name: str) -> DecoderConfig:
    """The decoder of one of these names."""
    return PRESETS[name] if name in PRESETS else DECODERS[name]()


_LATER = {
    "answer": "decoding",
    "SpeechLM": "model",
    "load": "model",
    "save": "model",
    "TrainingResult": "result",
    "train": "training",
}

__all__ = [
    "DECODERS",
    "PRESETS",
    "DecoderConfig",
    "DecoderSpec",
    "Example",
    "HfDecoderConfig",
    "HfSpec",
    "LoraSettings",
    "Prompt",
    "Recipe",
    "SpeechLM",
    "SpeechSpec",
    "TinyConfig",
    "TinySpec",
    "TrainingResult",
    "answer",
    "check_template",
    "config",
    "load",
    "names",
    "save",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
