"""Exporting: writes a trained cell as a package (see package.py), all of it or nothing."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator import checkpoints, provenance
from orchestrator.decoders.hf import TOKENIZER_FILES
from orchestrator.encoders.checkpoint_encoder import CheckpointEncoder
from orchestrator.encoders.hf import SETTINGS, HuggingFaceSpec
from orchestrator.errors import UserError
from orchestrator.inference.card import card
from orchestrator.inference.package import (
    BASE,
    CARD,
    ENCODER,
    FOLDERS,
    FORMAT,
    INDEX,
    checksum_of,
    is_export,
    read_index,
)
from orchestrator.inference.trained import Trained
from orchestrator.stage import canonical, walk
from orchestrator.stages.annotations import read_annotations
from orchestrator.stages.recordings import read_recordings
from orchestrator.store import Store, checksum

MOST_BYTES = 2 << 30
"""Weights of an encoder above which it is named, and copied only where that is asked for."""
TAKEN = ("weights.safetensors", "centroids.safetensors", "bpe.json", "model/")
"""Which files of a stage are needed to answer, as their names begin."""


def export(store: Store, trained: Trained, folder: Path, with_base: bool = False) -> Path:
    """Writes the package of a cell; an older one of the same cell is replaced.

    Args:
        folder: new, empty, or an older export of the cell.
        with_base: copies checkpoints of any size, also that of frozen weights.

    Raises:
        UserError: the folder holds something else.
    """
    folder = folder.expanduser().absolute()
    _check_free(folder, trained.cell.id)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        made.mkdir()
        _write(store, trained, made, with_base)
        if folder.exists():
            aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.old")
            folder.rename(aside)
            made.rename(folder)
            shutil.rmtree(aside)
        else:
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _check_free(folder: Path, cell: str) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder that is new or empty")
    if Path.cwd().is_relative_to(folder.resolve()):
        raise UserError(f"you are in {folder}, which is replaced as a whole: name a folder within it")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if not there:
        return
    if not is_export(folder):
        raise UserError(f"{folder} holds {len(there)} files and is no export: name a folder that is new or empty")
    index = read_index(folder)
    if index["cell"] != cell:
        raise UserError(f"{folder} is an export of the cell {index['cell']}, not of {cell}: name another folder")
    if others := sorted(there - {*index["files"], INDEX, CARD}):
        raise UserError(f"{folder} holds files beside its export, such as {others[0]}, which would be lost: move them")


def _write(store: Store, trained: Trained, folder: Path, with_base: bool) -> None:
    scoring, training = trained.scoring, trained.scoring.training
    stages = list(walk(scoring))
    for stage in stages:
        if stage.name in FOLDERS and stage.identity in _needed(trained):
            artifact = store.open(stage)
            for name in artifact.names:
                if name.startswith(TAKEN):
                    _copy(artifact.file(name), folder / FOLDERS[stage.name] / name)
    model = trained.load_model("cpu")
    index: dict[str, Any] = {
        "format": FORMAT,
        "cell": trained.cell.id,
        "coordinates": dict(trained.coordinates),
        "identity": scoring.identity,
        "task": canonical(training.task) | {"prompt": training.task.templates[0]},
        "limits": {
            "min_seconds": trained.limits.min_seconds,
            "max_seconds": trained.limits.max_seconds,
            "longest_answer": trained.most_tokens(model),
        },
        ENCODER: _encoder(trained, folder, with_base),
        BASE: _base(trained, folder, with_base),
        "scores": scores(store, trained),
        "training": store.open(training).json("training.json"),
        "data": _data(store, trained),
        "stages": {stage.identity: _manifest(store, stage) for stage in stages},
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        **{key: provenance.of_this_process()[key] for key in ("versions", "python")},
    }
    _without_places(folder)
    index["files"] = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "xxh3": checksum(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    index["checksum"] = checksum_of(index)
    (folder / INDEX).write_text(json.dumps(index, indent=1, ensure_ascii=False), "utf-8")
    (folder / CARD).write_text(card(index), "utf-8")


def _needed(trained: Trained) -> set[str]:
    """The identities of the stages whose files answers are made with."""
    speech = trained.scoring.training.speech
    units = getattr(speech, "units", None)
    found = [trained.scoring.training, getattr(speech, "bpe", None), getattr(units, "codebook", None)]
    found += [getattr(speech.encoder, "pretraining", None)]
    return {stage.identity for stage in found if stage is not None}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _encoder(trained: Trained, folder: Path, with_base: bool) -> dict[str, Any] | None:
    """Of a pretrained encoder: what it is, with the layers that are read in the package unless they are too large."""
    spec = trained.scoring.training.speech.encoder
    if not isinstance(spec, HuggingFaceSpec):
        return None
    encoder = trained.load_encoder("cpu")
    size = sum(weight.numel() * weight.element_size() for weight in encoder.model.parameters())
    included = with_base or size <= MOST_BYTES
    if included:
        save_encoder(spec, encoder, folder / ENCODER)
    return _named(spec, included, SETTINGS)


def save_encoder(spec: HuggingFaceSpec, encoder: CheckpointEncoder, folder: Path) -> None:
    """Writes what is loaded of a checkpoint, as safetensors whatever it was, with what says how audio is prepared."""
    with checkpoints.quietly():
        encoder.model.save_pretrained(folder, save_original_format=False)
    source = checkpoints.with_weights(spec.checkpoint, spec.content, SETTINGS)
    for name in SETTINGS:
        if (source / name).is_file():
            _copy(source / name, folder / name)


def _base(trained: Trained, folder: Path, with_base: bool) -> dict[str, Any] | None:
    """Of a checkpoint whose weights stayed as they were."""
    decoder = trained.scoring.training.decoder
    if not decoder.is_frozen:
        return None
    if with_base:
        decoder.save_base(folder / BASE)
    return _named(decoder, with_base, TOKENIZER_FILES)


def _named(spec: Any, included: bool, others: Sequence[str]) -> dict[str, Any]:
    """A checkpoint by its content; a path of this machine is nobody's business, its last part is a name."""
    is_folder = Path(spec.checkpoint).expanduser().is_dir()
    name = Path(spec.checkpoint).name if is_folder else spec.checkpoint
    licence = _licence(checkpoints.with_weights(spec.checkpoint, spec.content, others))
    return {"checkpoint": name, "content": spec.content, "hub": not is_folder, "included": included, "licence": licence}


def _licence(checkpoint: Path) -> str | None:
    """What the model card of a checkpoint says, where that card came with it."""
    from huggingface_hub import ModelCard

    try:
        return ModelCard((checkpoint / "README.md").read_text("utf-8")).data.license
    except (OSError, ValueError):
        return None


def _without_places(folder: Path) -> None:
    """Takes paths of this machine out of what was copied."""
    path = folder / "model" / "model.json"
    values = json.loads(path.read_text("utf-8"))
    checkpoint = values["decoder"].get("checkpoint")
    if checkpoint and Path(checkpoint).expanduser().is_absolute():
        values["decoder"]["checkpoint"] = Path(checkpoint).name
        path.write_text(json.dumps(values), "utf-8")
    for config in (folder / name / "config.json" for name in (ENCODER, BASE, "model")):
        if config.is_file():
            found = json.loads(config.read_text("utf-8"))
            if found.pop("_name_or_path", None) is not None:
                config.write_text(json.dumps(found, indent=1), "utf-8")


def _manifest(store: Store, stage: Any) -> dict[str, Any]:
    """What of a stage's manifest says how it was made."""
    found = store.open(stage).manifest
    return {key: found.get(key) for key in ("stage", "version", "config", "inputs", "made", "seconds", "device", "git")}


def scores(store: Store, trained: Trained) -> list[dict[str, Any]]:
    """Of each test set: test_set, n, metrics, baseline, and interval (95 %, by the bootstrap) where there is one."""
    from orchestrator.statistics.answers import Question, answered
    from orchestrator.statistics.predictions import read

    artifact = store.open(trained.scoring)
    found = artifact.json("metrics.json")
    tests = [result for result in found["results"] if result["split"] == "test"]
    record = asdict(trained.cell) | {"identity": trained.scoring.identity, "results": tests}
    question = Question((trained.cell.id,))
    predictions = artifact.file("predictions.parquet")
    folder = store.root / "statistics"
    answers = answered([question], {trained.cell.id: record}, lambda _, splits: read(predictions, splits), folder)
    told = []
    for result in tests:
        answer = answers[question][result["test_set"]]
        interval = answer["metrics"] and {name: [low, high] for name, (_, low, high, _) in answer["metrics"].items()}
        told.append(result | {"interval": interval, "resampled": answer["resampled"], "primary": found["primary"]})
    return told


def _data(store: Store, trained: Trained) -> dict[str, Any]:
    """The corpus: utterances and hours of each split that the task has annotations for; hours None where unknown."""
    table = read_annotations(store.open(trained.scoring.annotations))
    speech = trained.scoring.training.speech
    indexed = getattr(speech, "indexed", ())
    seconds = None
    if indexed:
        seconds = {one.id: one.seconds for one in read_recordings(store.open(indexed[0].recordings))}
    splits = {
        str(split): {"utterances": len(rows), "hours": _hours(rows["id"], seconds)}
        for split, rows in table.groupby("split", sort=True)
    }
    return {"corpus": trained.cell.corpus, "splits": splits}


def _hours(ids: pd.Series, seconds: dict[str, float] | None) -> float | None:
    return None if seconds is None else round(sum(seconds.get(name, 0.0) for name in ids) / 3600, 4)
