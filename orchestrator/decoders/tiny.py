"""tiny: a small Qwen2 from scratch, for CPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from orchestrator.decoders.spec import DecoderConfig, DecoderSpec, SpeechTokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Qwen2Config

    from orchestrator.decoders.text import Text

POSITIONS = 8192
"""Longest sequence; rotary positions have no table, so it costs nothing."""


@dataclass(frozen=True, kw_only=True)
class TinySpec(DecoderSpec):
    """A Qwen2 with random first weights and a byte-level BPE trained on the training targets.

    Attributes:
        hidden, layers, heads, kv_heads, intermediate: its shape.
        text_vocabulary: most entries of the BPE, the 256 bytes included.
    """

    kind: ClassVar[str] = "tiny"

    hidden: int = 128
    layers: int = 4
    heads: int = 2
    kv_heads: int = 2
    intermediate: int = 256
    text_vocabulary: int = 512

    @property
    def name(self) -> str:
        return f"tiny-{self.layers}x{self.hidden}"

    def load(self, templates: tuple[str, ...], targets: Sequence[str], seed: int) -> tuple[PreTrainedModel, Text]:
        from orchestrator.decoders.text import train_text

        text = train_text(targets, self.text_vocabulary)
        return self._lm(text.end, seed), text

    def prompted(self, text: Text, templates: tuple[str, ...]) -> Text:
        return text  # one position stands for the instruction, whichever it is

    def config(self, end: int) -> Qwen2Config:
        """Of the causal LM, whose last token ends an answer."""
        from transformers import Qwen2Config

        return Qwen2Config(
            vocab_size=end + 1,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            intermediate_size=self.intermediate,
            max_position_embeddings=POSITIONS,
            # Qwen2's 0.02 is for hidden sizes of a thousand. Half of what would keep the variance of a layer's output
            # learns faster than either, and generalises better than the whole.
            initializer_range=0.5 * self.hidden**-0.5,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=end,
        )

    def _lm(self, end: int, seed: int) -> PreTrainedModel:
        import torch
        from transformers import Qwen2ForCausalLM

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Qwen2ForCausalLM(self.config(end))


class TinyConfig(DecoderConfig):
    """A small Qwen2, trained from scratch."""

    kind: Literal["tiny"] = "tiny"
    hidden: Annotated[int, Field(ge=8, le=4096)] = TinySpec.hidden
    layers: Annotated[int, Field(ge=1, le=64)] = TinySpec.layers
    heads: Annotated[int, Field(ge=1)] = TinySpec.heads
    kv_heads: Annotated[int, Field(ge=1)] = TinySpec.kv_heads
    intermediate: Annotated[int, Field(ge=8)] = TinySpec.intermediate
    text_vocabulary: Annotated[int, Field(ge=256, le=65536)] = TinySpec.text_vocabulary
    speech_tokens: SpeechTokens = "own"

    @model_validator(mode="after")
    def _divisible(self) -> TinyConfig:
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden={self.hidden} should be an even multiple of heads={self.heads}")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads={self.heads} should be a multiple of kv_heads={self.kv_heads}")
        return self

    def spec(self) -> TinySpec:
        return TinySpec(**self.model_dump(exclude={"kind"}))
