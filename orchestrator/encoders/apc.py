"""APC: an encoder that is trained within the run, on the training recordings, by predicting frames ahead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from orchestrator.encoders.encoder import Encoder, EncoderConfig, EncoderSpec

if TYPE_CHECKING:
    from orchestrator.encoders.apc_network import ApcNetwork
    from orchestrator.stage import Stage
    from orchestrator.stages.pretraining import Pretraining
    from orchestrator.store import Artifact


class ApcConfig(EncoderConfig):
    """Autoregressive predictive coding, trained here on the training split: GRUs over log-mels."""

    hidden: int = Field(default=128, ge=8, le=2048)
    layers: int = Field(default=2, ge=1, le=12)
    bins: int = Field(default=40, ge=8, le=128)
    ahead: int = Field(default=3, ge=1, le=20)
    steps: int = Field(default=250, ge=1)
    batch_seconds: float = Field(default=60.0, gt=0)
    learning_rate: float = Field(default=4e-3, gt=0)
    seed: int = Field(default=0, ge=0)

    def spec(self, recordings: Stage, selection: Stage) -> ApcSpec:
        # Stages build on encoders; that an encoder's weights come from a stage is said here alone.
        from orchestrator.stages.pretraining import Pretraining

        return ApcSpec(pretraining=Pretraining(recordings=recordings, selection=selection, **self.model_dump()))


@dataclass(frozen=True, kw_only=True)
class ApcSpec(EncoderSpec):
    """An APC encoder: layer 0 is the normalised log-mels, layers 1 to L are the outputs of the GRUs.

    Attributes:
        pretraining: the stage whose artifact holds its weights.
    """

    pretraining: Pretraining

    @property
    def name(self) -> str:
        return "apc"

    @property
    def layers(self) -> int:
        return self.pretraining.layers

    @property
    def dimension(self) -> int:
        return self.pretraining.hidden

    def dimension_of(self, layer: int) -> int:
        return self.pretraining.hidden if layer else self.pretraining.bins

    def load(self, open: Callable[[Stage], Artifact], device: str = "cpu", deepest: int | None = None) -> Encoder:
        from safetensors.torch import load_file

        from orchestrator.encoders.apc_network import ApcNetwork

        stage = self.pretraining
        network = ApcNetwork(stage.bins, stage.hidden, stage.layers)
        network.load_state_dict(load_file(open(stage).file("weights.safetensors")))
        return ApcEncoder(self, network.eval().to(device))


class ApcEncoder(Encoder):
    """A trained APC network, reading."""

    def __init__(self, spec: ApcSpec, network: ApcNetwork):
        super().__init__(spec)
        self.network = network

    def _frames(self, waves: list[np.ndarray], layers: list[int]) -> list[dict[int, np.ndarray]]:
        from orchestrator.encoders.apc_network import padded

        inputs = self.network.inputs(waves)
        found = self.network.layers(padded(inputs), deepest=layers[-1])
        return [{layer: found[layer][row, : len(x)].cpu().numpy() for layer in layers} for row, x in enumerate(inputs)]
