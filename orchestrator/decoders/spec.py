"""What a decoder, its speech and its training are made from: configuration alone, cheap to import."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass as checked_dataclass

from orchestrator.errors import UserError
from orchestrator.stage import runtime

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from orchestrator.decoders.text import Text

Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Example:
    """An utterance as the decoder meets it.

    Attributes:
        id: of the utterance; the order of training depends on the ids and the seed alone.
        speech: integer tokens `[N]`, frames `[T, D]` (fp16 or fp32, raw), or None without speech.
        target: the answer that is wanted; not looked at in decoding.
    """

    id: str
    speech: np.ndarray | None
    target: str


@dataclass(frozen=True, kw_only=True)
class SpeechSpec:
    """How speech enters the decoder.

    Attributes:
        kind: `discrete` looks tokens up in a table; `continuous` and `centroids` bring frames through the adapter;
            `none` brings no speech.
        tokens: size of the table (discrete).
        dimension: D of a frame (continuous, centroids).
        concatenate: how many neighbouring frames make one position of the decoder.
        mean, std: per dimension `[D]`, of training frames; frames are normalised by them (0 and 1 where not given).
    """

    kind: Literal["none", "continuous", "discrete", "centroids"]
    tokens: int | None = None
    dimension: int | None = None
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
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.dimension:
                raise UserError(f"{name} has {len(values)} values, the frames have {self.dimension} dimensions")


@dataclass(frozen=True)
class Prompt:
    """The text around the speech, as the decoder's chat template renders it, and the token that ends an answer."""

    prefix: str
    suffix: str
    end: str


@dataclass(frozen=True, kw_only=True)
class DecoderSpec(ABC):
    """The identity-bearing configuration of a decoder, a field of the training stage."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short, for people."""

    @abstractmethod
    def load(self, instruction: str, targets: Sequence[str], seed: int) -> tuple[PreTrainedModel, Text]:
        """The causal LM with its first weights, and its text tokenizer with the prompt of the instruction.

        Args:
            instruction: of the task.
            targets: answers of the training split, from which a decoder from scratch learns its text vocabulary.
            seed: of the first weights of a decoder from scratch.

        Raises:
            UserError: the checkpoint is not there, or is no causal LM.
        """


class DecoderConfig(BaseModel, ABC):
    """What a search space may say about a decoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @abstractmethod
    def spec(self) -> DecoderSpec:
        """The decoder's identity-bearing configuration. Raises UserError where a checkpoint can't be found."""


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
