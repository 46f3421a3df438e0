"""Estimates for a plan: what the trainings of a space take on a GPU. No weight is read; what was told once is remembered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.cell import Cell
from orchestrator.decoders import DecoderSpec, Recipe, SpeechSpec
from orchestrator.decoders.footprint import Memory, MicroBatch
from orchestrator.decoders.published import configuration, values_of
from orchestrator.recipes import family_of
from orchestrator.stages.speech import CentroidsSpeech, ContinuousSpeech, DiscreteSpeech, Speech
from orchestrator.stages.training import Training
from tasks import TASKS

GPU_BYTES = 80e9
"""Of a GPU of 80 GB that a training may fill. It has 85e9; the rest is for CUDA itself and for gaps between blocks."""
MOST_GPUS = 64
VERSION = 1
"""Of what is remembered; raised whenever memory.py would tell another number."""
ANSWER_SHARES = {"phoneme": 0.5}
"""Share of a micro-batch's positions that are answer tokens: more than any cell of the study has, by task. An utterance of
LibriSpeech (12 s: 300 positions of concatenated frames, 150 to 250 of BPE pieces) has about 45 tokens of text, or 200 of
phonemes."""
SEQUENCE_SHARE, LABEL_SHARE = 0.25, 0.1
"""The same for the other tasks whose answers are text, and for classifications."""


@dataclass(frozen=True)
class TrainingMemory:
    """The largest training with a decoder and a recipe.

    Attributes:
        memory: None where the decoder's checkpoint is not at hand and not a known one.
        gpus: that the decoder is said to take.
        positions: of a micro-batch.
        is_partial: whether there are others, with frames of an encoder that nothing is known of.
    """

    decoder: str
    recipe: str
    gpus: int
    positions: int
    memory: Memory | None
    is_partial: bool = False

    @property
    def needed(self) -> int | None:
        """GPUs of 80 GB that it takes, not fewer than it is said to; None: more than there are, or not known."""
        if self.memory is None:
            return None
        return next((n for n in range(self.gpus, MOST_GPUS + 1) if self.memory.on(n) <= GPU_BYTES), None)

    @property
    def verdict(self) -> str:
        """Whether it fits."""
        if self.memory is None:
            return "unknown until its checkpoint is at hand"
        if self.needed is None:
            return f"fits on no number of 80 GB GPUs: lower micro_batch_tokens ({self.positions}) of the recipe"
        if self.needed > self.gpus:
            return f"needs {self.needed} GPUs of 80 GB, not {self.gpus}: see gpus of the decoder"
        return "fits on one 80 GB GPU" if self.gpus == 1 else f"fits on its {self.gpus} GPUs of 80 GB"


def training_memories(trainings: Mapping[Cell, Training], folder: Path) -> list[TrainingMemory]:
    """One for each decoder with each recipe, in the order of the cells; learning rates make no difference.

    A micro-batch is taken to be full, with a share of answers that is high for its task.

    Args:
        folder: where what was told once is remembered.
    """
    groups: dict[tuple[str, str], list[Training]] = {}
    for cell, training in trainings.items():
        alike = groups.setdefault((cell.decoder, family_of(cell.recipe)[0]), [])
        alike += [training, *filter(None, [training.init])]  # what it starts from is trained, too
    told = []
    for (decoder, recipe), alike in groups.items():
        first = alike[0]
        load = _micro_batch(first.recipe, max(_answer_share(t) for t in alike))
        specs = {_speech(training.speech) for training in alike}
        found = [_remembered(folder, first.decoder, speech, first.recipe, load) for speech in _largest(specs)]
        known = [memory for memory in found if memory is not None]
        largest = max(known, key=lambda memory: memory.bytes, default=None)
        positions = load.sequences * load.length
        told.append(TrainingMemory(decoder, recipe, first.decoder.gpus, positions, largest, None in specs))
    return told


def _answer_share(training: Training) -> float:
    task = TASKS[training.task.name]
    return LABEL_SHARE if task.kind == "classification" else ANSWER_SHARES.get(task.name, SEQUENCE_SHARE)


def _micro_batch(recipe: Recipe, share: float) -> MicroBatch:
    sequences = min(recipe.batch, max(1, recipe.micro_batch_tokens // 512))
    length = max(2, recipe.micro_batch_tokens // sequences)
    answers = max(1, round(share * length))
    return MicroBatch(sequences, length, speech=length - answers, answers=answers)


def _largest(specs: Collection[SpeechSpec | None]) -> list[SpeechSpec]:
    """The speech that takes most memory: the widest frames, and the largest table."""
    known = [spec for spec in specs if spec is not None]
    frames = [spec for spec in known if spec.dimension]
    tables = [spec for spec in known if spec.tokens]
    found = [max(frames, key=lambda spec: spec.width * spec.concatenate)] if frames else []
    found += [max(tables, key=lambda spec: spec.tokens or 0)] if tables else []
    return found or known


def _speech(speech: Speech) -> SpeechSpec | None:
    """How it enters, as far as that is known before anything is built: without statistics."""
    if isinstance(speech, DiscreteSpeech):
        return SpeechSpec(kind="discrete", tokens=speech.bpe.vocabulary if speech.bpe else speech.units.codebook.k)
    if isinstance(speech, ContinuousSpeech):
        dimension, layers = speech.features[0].encoder.dimension_of(speech.features[0].layer), len(speech.features)
    elif isinstance(speech, CentroidsSpeech):
        dimension, layers = speech.units.encoder.dimension_of(speech.units.layer), 1
    else:
        return SpeechSpec(kind="none")
    if not dimension:
        return None
    return SpeechSpec(kind=speech.kind, dimension=dimension, layers=layers, concatenate=speech.downsample)


def _remembered(
    folder: Path, decoder: DecoderSpec, speech: SpeechSpec, recipe: Recipe, load: MicroBatch
) -> Memory | None:
    values = values_of(decoder)
    if values is None:
        return None
    versions = {name: version(name) for name in ("torch", "transformers", "peft")}
    shaping = [recipe.dtype, bool(recipe.averaging), bool(recipe.label_smoothing)]
    about: list[Any] = [VERSION, versions, values, asdict(decoder), asdict(speech), shaping, asdict(load)]
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
    path = folder / f"{key}.json"
    try:
        return Memory(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        pass  # not told yet, or torn
    from orchestrator.decoders.memory import training_memory  # torch with it

    config = configuration(decoder)
    assert config is not None
    memory = training_memory(config, decoder, speech, recipe, load)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(memory)), "utf-8")
    return memory
