"""Features: raw fp16 frames of one layer, for every recording. Filled by the encoder pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.encoders import EncoderSpec
from orchestrator.stage import Build, Stage


@dataclass(frozen=True, kw_only=True)
class Features(Stage):
    """Files: `shard-*.safetensors` (id → fp16 `[T, D]`) and `index.parquet`."""

    name: ClassVar[str] = "features"
    gpu: ClassVar[bool] = True
    resumable: ClassVar[bool] = True

    recordings: Stage
    encoder: EncoderSpec
    layer: int

    @property
    def readable(self) -> str:
        return f"{self.recordings.readable}-{self.encoder.name}-layer{self.layer}"

    def build(self, at: Build) -> None:
        from orchestrator.stages.encoder_pass import fill  # the pass knows the stages it fills

        fill(self, at)
