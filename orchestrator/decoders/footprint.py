"""What a training takes on a device, as `memory` computes it and a plan remembers it. Cheap to import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MicroBatch:
    """Sequences that go through the decoder at once, padded to one length.

    Attributes:
        sequences: B.
        length: L, positions of each, padding included.
        speech: positions of each that are speech.
        answers: tokens of each that are predicted.
        is_alone: whether the step has no other: then its gradients take the place of its activations, bit by bit.
    """

    sequences: int
    length: int
    speech: int
    answers: int
    is_alone: bool = False


@dataclass(frozen=True)
class Memory:
    """Bytes on the device at the moment when they are most.

    Attributes:
        kept: by name, what several GPUs would share out: weights, gradients, optimiser, copies.
        passing: by name, what a micro-batch adds.
        parameters, trained: how many weights there are, and how many of them are trained; tied ones once.
    """

    kept: dict[str, int]
    passing: dict[str, int]
    parameters: int
    trained: int

    @property
    def parts(self) -> dict[str, int]:
        """All of it by name, the largest first."""
        return dict(sorted((self.kept | self.passing).items(), key=lambda part: -part[1]))

    @property
    def bytes(self) -> int:
        """The sum."""
        return sum(self.parts.values())

    def on(self, gpus: int) -> float:
        """Bytes on each of several GPUs that share what is kept (FSDP, arXiv 2304.11277)."""
        return sum(self.kept.values()) / gpus + sum(self.passing.values())
