"""Restore: stages from the manifests of their artifacts, so that a trained cell needs neither its space nor its corpus.

A manifest holds the whole configuration of its stage and names the inputs by identity. What is made of it has to have the
identity that it was stored under: a cell is used as it was trained, or not at all.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.decoders import HfSpec, LoraSettings, Recipe, TinySpec
from orchestrator.encoders.apc import ApcSpec
from orchestrator.encoders.checkpoint_encoder import Shape
from orchestrator.encoders.hf import HuggingFaceSpec
from orchestrator.encoders.spectral import SpectralSpec
from orchestrator.errors import StageError
from orchestrator.stage import Stage
from orchestrator.stages.annotations import Annotations, Selection
from orchestrator.stages.bpe import Bpe
from orchestrator.stages.codebook import Codebook
from orchestrator.stages.features import Features
from orchestrator.stages.pretraining import Pretraining
from orchestrator.stages.recordings import Recordings, SynthesisedRecordings
from orchestrator.stages.sample import Sample
from orchestrator.stages.scoring import Scoring
from orchestrator.stages.speech import CentroidsSpeech, ContinuousSpeech, DiscreteSpeech, NoSpeech
from orchestrator.stages.training import TaskSpec, Training
from orchestrator.stages.units import Units

STAGES: tuple[type[Stage], ...] = (
    *(Annotations, Selection, Recordings, SynthesisedRecordings, Pretraining, Sample, Codebook, Features, Units, Bpe),
    *(Training, Scoring),
)
"""What a cell is made of. A stage that cells read from now on has its place here."""
PARTS: dict[str, type] = {
    part.__name__: part
    for part in (
        *(SpectralSpec, ApcSpec, HuggingFaceSpec, Shape),
        *(TinySpec, HfSpec, LoraSettings, Recipe, TaskSpec),
        *(NoSpeech, ContinuousSpeech, DiscreteSpeech, CentroidsSpeech),
    )
}
"""What configurations are made of beside stages, by name. An encoder or a decoder that is added has its place here."""
IDENTITY = re.compile(r"[0-9a-f]{16}")

Manifest = Mapping[str, Any]


def restore(
    name: str,
    identity: str,
    manifest: Callable[[str, str], Manifest],
    checkpoint: Callable[[str], str],
) -> Stage:
    """A stage with everything that it was made from.

    Args:
        name: of the stage, such as `scoring`.
        manifest: gives the manifest of a stage by its name and identity.
        checkpoint: says where the checkpoint of a content is, which no manifest knows; '' where that is not known.

    Raises:
        StageError: a manifest is missing, or is of another version of this program.
    """
    return _Restoring(manifest, checkpoint).stage(name, identity)


class _Restoring:
    def __init__(self, manifest: Callable[[str, str], Manifest], checkpoint: Callable[[str], str]):
        self._manifest = manifest
        self._checkpoint = checkpoint
        self._made: dict[str, Stage] = {}

    def stage(self, name: str, identity: str) -> Stage:
        if identity not in self._made:
            if not IDENTITY.fullmatch(identity) or name not in {kind.name for kind in STAGES}:
                raise StageError(f"'{name}:{identity}' names no stage of a cell that this tokengrid knows")
            self._made[identity] = self._stage(name, identity)
        return self._made[identity]

    def _stage(self, name: str, identity: str) -> Stage:
        manifest = self._manifest(name, identity)
        config, inputs = manifest["config"], manifest["inputs"]
        values = {key: self._value(value, inputs) for key, value in config.items()}
        for kind in STAGES:
            fields = {f.name for f in dataclasses.fields(kind) if not f.metadata.get("runtime")}
            if kind.name == name and fields == set(config):
                stage = kind(**values)
                if stage.identity == identity:
                    return stage
        raise StageError(
            f"the {name} {identity} was made by another version of tokengrid, whose {name} is configured otherwise. "
            "Use that version, or run the cell again with this one."
        )

    def _value(self, value: Any, inputs: Mapping[str, str]) -> Any:
        if isinstance(value, str):
            name, _, identity = value.rpartition(":")
            return self.stage(name, identity) if inputs.get(identity) == name else value
        if isinstance(value, list):
            return tuple(self._value(item, inputs) for item in value)
        if isinstance(value, dict):
            found = {key: self._value(item, inputs) for key, item in value.items()}
            return self._part(found) if "is" in found else found
        return value

    def _part(self, values: dict[str, Any]) -> Any:
        kind = PARTS.get(values.pop("is"))
        fields = {f.name: f for f in dataclasses.fields(kind)} if kind else {}
        if kind is None or not values.keys() <= fields.keys():
            raise StageError("a part of the cell was made by another version of tokengrid: run it again with this one")
        if "checkpoint" in fields:  # where it is, which is no part of what it is
            values["checkpoint"] = self._checkpoint(values["content"])
        return kind(**{key: value for key, value in values.items() if fields[key].init})
