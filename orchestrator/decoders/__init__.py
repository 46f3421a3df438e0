"""Decoders: speech LLMs, their training and their answers. What needs torch is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchestrator.decoders.hf import HfDecoderConfig, HfSpec
from orchestrator.decoders.spec import DecoderConfig, DecoderSpec, Example, Prompt, Recipe, SpeechSpec
from orchestrator.decoders.tiny import TinyConfig, TinySpec

if TYPE_CHECKING:
    from orchestrator.decoders.decoding import answer
    from orchestrator.decoders.model import SpeechLM, load, save
    from orchestrator.decoders.training import TrainingResult, train

DECODERS: dict[str, type[DecoderConfig]] = {
    "tiny": TinyConfig,
    "hf": HfDecoderConfig,
}
"""Kinds of decoders by the `kind` of their definition; those that need no settings are names in a search space, too."""

_LATER = {
    "answer": "decoding",
    "SpeechLM": "model",
    "load": "model",
    "save": "model",
    "TrainingResult": "training",
    "train": "training",
}

__all__ = [
    "DECODERS",
    "DecoderConfig",
    "DecoderSpec",
    "Example",
    "HfDecoderConfig",
    "HfSpec",
    "Prompt",
    "Recipe",
    "SpeechLM",
    "SpeechSpec",
    "TinyConfig",
    "TinySpec",
    "TrainingResult",
    "answer",
    "load",
    "save",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
