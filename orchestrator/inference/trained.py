"""Trained: a finished cell with all that it needs to hear and answer, in a store or in the folder of an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import audio
from orchestrator.cell import Cell
from orchestrator.stages.annotations import read_annotations
from orchestrator.stages.scoring import Scoring
from orchestrator.stages.speech import Open

if TYPE_CHECKING:
    from orchestrator.decoders import SpeechLM
    from orchestrator.encoders import Encoder


@dataclass(frozen=True)
class Trained:
    """A finished cell.

    Attributes:
        scoring: its last stage, with everything that it was made from.
        open: opens the artifacts of these stages.
        coordinates: of the cell.
        limits: of the recordings that it can be asked about.
        longest: most tokens of an answer; None where the targets that tell are in `open`.
        encoder, base: folders that hold the checkpoints of the encoder and of frozen weights of the decoder; None where
            they are looked for by what the stages say.
    """

    scoring: Scoring
    open: Open
    coordinates: Mapping[str, Any] = field(default_factory=dict)
    limits: audio.Limits = field(default_factory=audio.Limits)
    longest: int | None = None
    encoder: Path | None = None
    base: Path | None = None

    @property
    def cell(self) -> Cell:
        """As the grid has it."""
        return Cell(**self.coordinates)

    def load_encoder(self, device: str) -> Encoder | None:
        """The encoder up to the layers that are read; None where no speech is heard."""
        speech = self.scoring.training.speech
        if speech.encoder is None:
            return None
        deepest = max(speech.layers)
        if self.encoder is not None and hasattr(speech.encoder, "load_from"):
            return speech.encoder.load_from(self.encoder, device, deepest)
        return speech.encoder.load(self.open, device, deepest)

    def load_model(self, device: str) -> SpeechLM:
        """The decoder with its front end."""
        from orchestrator.decoders import load

        artifact = self.open(self.scoring.training)
        decoder = self.scoring.training.decoder
        return load(artifact.folder / "model", file=artifact.file, device=device, decoder=decoder, base=self.base)

    def most_tokens(self, model: SpeechLM) -> int:
        """Of an answer, as scoring has it."""
        if self.longest is not None:
            return self.longest
        table = read_annotations(self.open(self.scoring.annotations))
        return self.scoring.limit(model, table.loc[table["split"] == "train", "target"])
