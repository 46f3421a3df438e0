"""Where a training is, and how it went."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class TrainingResult:
    """How a training went. The model holds its best weights.

    Attributes:
        curve: a row for every evaluation: step, epoch, tokens, seconds, train_loss, dev_loss, dev_error.
        stopped: `plateau`, or `budget` where max_epochs came first.
        steps, epochs: taken.
        tokens: positions read in training, without padding.
        answer_tokens: tokens predicted in training.
        flops: of training, estimated.
        seconds: of training and evaluation, over all resumptions.
        best_step, best_epoch, tokens_to_best, flops_to_best, seconds_to_best: where the monitor was lowest.
        best_dev_loss, best_dev_error: there.
        parameters, trained_parameters: of the model, and those of them that training changes.
    """

    curve: list[dict[str, float]]
    stopped: str
    steps: int
    epochs: float
    tokens: int
    answer_tokens: int
    flops: float
    seconds: float
    best_step: int
    best_epoch: float
    tokens_to_best: int
    flops_to_best: float
    seconds_to_best: float
    best_dev_loss: float
    best_dev_error: float
    parameters: int
    trained_parameters: int

    def summary(self) -> dict[str, Any]:
        """Everything but the curve, in plain values."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "curve"}


@dataclass
class State:
    """Where a training is: all that its checkpoint keeps beside tensors; chance depends on seed and step alone."""

    step: int = 0
    tokens: int = 0
    squares: int = 0
    answers: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    """Summed over the answer tokens since the last evaluation."""
    loss_tokens: int = 0
    gain: float = math.inf
    """The monitor at the last gain."""
    waited: int = 0
    """Evaluations since then."""
    best: int = -1
    """Row of the curve where the monitor was lowest."""
    stopped: str = ""
    curve: list[dict[str, float]] = field(default_factory=list)

    def result(self, parameters: int, trained: int) -> TrainingResult:
        """How a training that has stopped went."""
        best, last = self.curve[self.best], self.curve[-1]
        return TrainingResult(
            curve=self.curve,
            stopped=self.stopped,
            steps=self.step,
            epochs=last["epoch"],
            tokens=self.tokens,
            answer_tokens=self.answers,
            flops=last["flops"],
            seconds=round(self.seconds, 3),
            best_step=int(best["step"]),
            best_epoch=best["epoch"],
            tokens_to_best=int(best["tokens"]),
            flops_to_best=best["flops"],
            seconds_to_best=best["seconds"],
            best_dev_loss=best["dev_loss"],
            best_dev_error=best["dev_error"],
            parameters=parameters,
            trained_parameters=trained,
        )
