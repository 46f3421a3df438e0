"""What a decoder, its speech and its training are made from: configuration alone, cheap to import."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass as checked_dataclass

from orchestrator.errors import StageError, UserError
from orchestrator.stage import runtime

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from orchestrator.decoders.text import Text

Share = Annotated[float, Field(ge=0, lt=1)]
SpeechTokens = Literal["own", "vocabulary"]
PLACEHOLDER = "{speech}"
"""Where the speech stands in a prompt template."""


def check_template(text: str) -> None:
    """Checks a prompt template, such as `Transcribe the speech.\\n{speech}`.

    Raises:
        UserError: it doesn't say once where the speech stands.
    """
    if (count := text.count(PLACEHOLDER)) != 1:
        other = [found for found in re.findall(r"\{\w*\}", text) if found != PLACEHOLDER]
        came = f"it stands there {count} times" if count else f"{other[0]} does" if other else "it has none"
        raise UserError(
            f"the prompt template {text!r} should have the placeholder {PLACEHOLDER} exactly once, where the speech is "
            f"read, and {came}. For example 'Transcribe the speech.\\n{PLACEHOLDER}'."
        )


class Array(Protocol):
    """What speech comes in: an array, or something that becomes one where its values are needed (a mapped file)."""

    shape: tuple[int, ...]
    dtype: np.dtype
    ndim: int

    def __len__(self) -> int: ...

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray: ...


@dataclass(frozen=True)
class Example:
    """An utterance as the decoder meets it.

    Attributes:
        id: of the utterance; the order of training depends on the ids and the seed alone.
        speech: integer tokens `[N]`, frames `[T, layers · D]` (fp16 or fp32, raw), or None without speech.
        target: the answer that is wanted; not looked at in decoding.
    """

    id: str
    speech: Array | None
    target: str


@dataclass(frozen=True, kw_only=True)
class SpeechSpec:
    """How speech enters the decoder.

    Attributes:
        kind: `discrete` looks tokens up in a table; `continuous` and `centroids` bring frames through the adapter;
            `none` brings no speech.
        tokens: size of the table (discrete).
        dimension: D of a frame in one layer (continuous, centroids).
        layers: of the encoder that a frame holds side by side; their sum with learned weights is what enters
            (continuous; SUPERB, arXiv 2105.01051).
        concatenate: how many neighbouring frames make one position of the decoder.
        mean, std: per dimension `[layers · D]`, of training frames; frames are normalised by them (0 and 1 where not
            given).
    """

    kind: Literal["none", "continuous", "discrete", "centroids"]
    tokens: int | None = None
    dimension: int | None = None
    layers: int = 1
    concatenate: int = 1
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        frames = self.kind in ("continuous", "centroids")
        if (self.kind == "discrete") != bool(self.tokens) or frames != bool(self.dimension):
            raise UserError(
                f"speech of kind '{self.kind}' with tokens={self.tokens} and dimension={self.dimension}: "
                "discrete needs `tokens`, continuous and centroids need `dimension`, none needs neither"
            )
        if self.concatenate < 1 or (self.concatenate > 1 and not frames):
            raise UserError(
                f"concatenate={self.concatenate} with speech of kind '{self.kind}': only frames are concatenated"
            )
        if self.layers < 1 or (self.layers > 1 and self.kind != "continuous"):
            raise UserError(
                f"layers={self.layers} with speech of kind '{self.kind}': only continuous frames are summed over layers"
            )
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.width:
                raise UserError(f"{name} has {len(values)} values, the frames have {self.width} dimensions")

    @property
    def width(self) -> int:
        """How many values a frame has, all its layers together; 0 without frames."""
        return self.layers * (self.dimension or 0)


@dataclass(frozen=True)
class Prompt:
    """The text around the speech, as the decoder's chat template renders it, and the token that ends an answer."""

    prefix: str
    suffix: str
    end: str


@dataclass(frozen=True, kw_only=True)
class DecoderSpec(ABC):
    """The identity-bearing configuration of a decoder, a field of the training stage.

    Attributes:
        kind: names it in the files of a trained model.
        speech_tokens: `own`: discrete speech has a table of its own, and the output knows text alone. `vocabulary`: rows
            are added to the decoder's own tables, as arXiv 2411.08742 does. They then are part of the softmax that the
            loss is taken over (the paper's setting), and never decoded: no answer is speech.
        gradient_checkpointing: computes activations again in the backward pass instead of keeping them.
        gpus: that one training takes.
    """

    kind: ClassVar[str]

    speech_tokens: SpeechTokens = "own"
    gradient_checkpointing: bool = runtime(False)
    gpus: int = runtime(1)

    @property
    @abstractmethod
    def name(self) -> str:
        """Short, for people."""

    @property
    def is_frozen(self) -> bool:
        """Whether the decoder's own weights stay as they are (LoRA): a trained model then refers to its checkpoint."""
        return False

    @abstractmethod
    def load(self, templates: tuple[str, ...], targets: Sequence[str], seed: int) -> tuple[PreTrainedModel, Text]:
        """The causal LM with its first weights, and its text tokenizer with the prompts of the templates.

        Args:
            templates: of the task, each with `{speech}` once; the first is the one that dev and test are asked with.
            targets: answers of the training split, from which a decoder from scratch learns its text vocabulary.
            seed: of the first weights of a decoder from scratch, and of LoRA.

        Raises:
            UserError: the checkpoint is not there, or is no causal LM.
        """

    def base(self, folder: Path | None = None) -> PreTrainedModel:
        """The causal LM of `load` alone, which those with frozen weights give without a task; LoRA in its first state.

        Args:
            folder: that is known to hold its checkpoint; by default the checkpoint is looked for where it was.
        """
        raise StageError(f"the decoder '{self.name}' has no weights that stay as they are")

    @abstractmethod
    def prompted(self, text: Text, templates: tuple[str, ...]) -> Text:
        """The text of a trained model that goes on to another task: the same tokenizer, that task's prompts."""

    def check_speech(self, kind: str) -> None:
        """Raises UserError where this decoder can't read speech of a kind."""
        if self.speech_tokens == "vocabulary" and kind not in ("discrete", "none"):
            raise UserError(
                f"the decoder '{self.name}' has speech_tokens: vocabulary, which is for discrete features; {kind} "
                "features have no tokens. Expected speech_tokens: own (the default) for them."
            )


class DecoderConfig(BaseModel, ABC):
    """What a search space may say about a decoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @abstractmethod
    def spec(self) -> DecoderSpec:
        """The decoder's identity-bearing configuration. Raises UserError where a checkpoint can't be found."""


def differences(one: Any, other: Any) -> str:
    """In which fields two specs differ, run-time ones aside, in words; empty where they are equal."""
    if type(one) is not type(other):
        return f"{type(one).__name__}, not {type(other).__name__}"
    told = []
    for f in fields(one):
        ours, theirs = getattr(one, f.name), getattr(other, f.name)
        if f.compare and ours != theirs:
            told.append(f.name if isinstance(ours, tuple) else f"{f.name} ({ours}, not {theirs})")
    return ", ".join(told)


@checked_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Recipe:
    """How a decoder is trained; the same for both arms. The learning rate is constant after warm-up.

    Attributes:
        batch: utterances an optimiser step.
        learning_rate, weight_decay, beta1, beta2: of AdamW; weight decay on matrices only.
        warmup_steps: over which the learning rate rises from zero.
        averaging: what is evaluated and kept is a moving average of the weights, of about 1 / (1 - averaging) steps: what
            a falling learning rate gives, without one that would have to know the end. 0: the weights themselves.
        gradient_clip: largest norm of the gradient of a step.
        label_smoothing: share of an answer token's probability that is spread over all tokens, in training only.
        speech_mask, answer_mask: shares of the positions of speech (in short spans) and of the answer's tokens read
            back that are hidden from the decoder in training; what it has to predict stays.
        max_epochs: the budget. Whoever reaches it has `stopped: budget`.
        evaluate_every: epochs between two looks at dev, fractions allowed.
        monitor: what decides on dev: `dev_loss` (nats an answer token) or `dev_error` (share of answer tokens that
            are not the most probable one, given the true ones before).
        minimal_gain: a new low of the monitor counts as a gain when it is lower by this share of the last gain.
        patience: after so many evaluations without a gain the training has reached its plateau.
        dtype: of the matrix products; weights and optimiser keep the decoder's own.
        micro_batch_tokens: positions, padding included, that go through the decoder at once: memory and speed only.
        beams: of decoding; 1 is greedy. A matter of scoring: the training is the same.
    """

    batch: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    beta1: Share = 0.9
    beta2: Share = 0.98
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    averaging: Share = 0.0
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    label_smoothing: Share = 0.0
    speech_mask: Share = 0.0
    answer_mask: Share = 0.0
    max_epochs: Annotated[int, Field(ge=1)] = 20
    evaluate_every: Annotated[float, Field(gt=0)] = 1.0
    monitor: Literal["dev_loss", "dev_error"] = "dev_loss"
    minimal_gain: Share = 0.005
    patience: Annotated[int, Field(ge=1)] = 3
    dtype: Literal["float32", "bfloat16"] = "float32"
    micro_batch_tokens: Annotated[int, Field(ge=1)] = runtime(2048)
    beams: Annotated[int, Field(ge=1)] = runtime(1)
