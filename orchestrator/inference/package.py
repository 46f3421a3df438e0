"""Package: a trained cell as a folder that loads without a store. Safetensors and JSON alone, every file checked.

tokengrid.json   what the cell is: task, coordinates, stages, scores, and the checksum of every file
README.md        the model card, for people; it may be edited
model/           decoder and front end, with the statistics that frames are normalised by
encoder/         weights of an encoder that was trained here, or the layers of a checkpoint that are read
codebook/ bpe/   centroids and merges, where speech is discrete
base/            the checkpoint that LoRA left as it is, where it was asked for
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator import hub
from orchestrator.audio import Limits
from orchestrator.errors import StageError, UserError
from orchestrator.inference.restore import Manifest, restore
from orchestrator.inference.trained import Trained
from orchestrator.stage import Stage
from orchestrator.store import Artifact, checksum

INDEX, CARD = "tokengrid.json", "README.md"
FORMAT = 1
"""Of these folders. One of another format is refused, never misread."""
ENCODER, BASE = "encoder", "base"
FOLDERS = {"training": "", "codebook": "codebook", "bpe": "bpe", "pretraining": ENCODER}
"""Where the files of a stage lie, by its name; those of the other stages are not part of a package."""
PARTS = ("model", "codebook", "bpe", ENCODER, BASE)
"""Folders of a package. What is beside them is nobody's business."""


NAMES = re.compile(
    r"(model|config|generation_config|preprocessor_config|processor_config|tokenizer|bpe|model\.safetensors\.index)\.json"
    r"|(model|weights|centroids)(-\d+-of-\d+)?\.safetensors"
)
"""What files of a package are called. Libraries that load its folders would follow others, such as an adapter_config.json
that names a checkpoint elsewhere, or read weights that nobody has checked."""


def is_export(folder: Path) -> bool:
    """Whether a folder says that it is a package."""
    return (folder / INDEX).is_file()


def open_export(folder: Path, base: Path | None = None) -> Trained:
    """The cell of a package, when all its files have been checked.

    Args:
        base: the folder of a checkpoint that the package names by its content only.

    Raises:
        UserError: it is of another format, was changed, or needs a checkpoint that isn't there.
    """
    index = read_index(folder)
    try:
        if problems := verify(folder, index):
            raise UserError(
                f"{folder} is not as it was exported:\n  " + "\n  ".join(problems) + "\nExport or copy the cell again."
            )
        return _trained(folder, index, base)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:  # though its checksum is right
        raise UserError(f"{folder / INDEX} is no description of a cell ({type(error).__name__}: {error})") from error


def _trained(folder: Path, index: Mapping[str, Any], base: Path | None) -> Trained:
    def manifest(name: str, identity: str) -> Manifest:
        if identity not in index["stages"]:
            raise StageError(f"{folder / INDEX} lacks the {name} {identity}")
        return index["stages"][identity]

    def opened(stage: Stage) -> Artifact:
        if stage.name not in FOLDERS:
            raise StageError(f"a package has no files of the {stage.name}")
        inside = folder / FOLDERS[stage.name]
        files = {
            path.relative_to(inside).as_posix()
            for path in map(folder.joinpath, index["files"])
            if inside in path.parents
        }
        return Artifact(inside, {"files": {}}, files)  # they have been checked

    checkpoints = [index[part] for part in (ENCODER, BASE) if index[part]]
    scoring = restore(
        "scoring", index["identity"], manifest, lambda content: _place(folder, checkpoints, content, base)
    )
    limits = index["limits"]
    return Trained(
        scoring=scoring,
        open=opened,
        coordinates=index["coordinates"],
        limits=Limits(limits["min_seconds"], limits["max_seconds"]),
        longest=limits["longest_answer"],
        encoder=folder / ENCODER if (folder / ENCODER).is_dir() else None,
        base=folder / BASE if (folder / BASE).is_dir() else None,
    )


def _place(folder: Path, checkpoints: list[Mapping[str, Any]], content: str, base: Path | None) -> str:
    """Where a checkpoint is: in the package, on the hub at its commit, or where the user says."""
    for one in checkpoints:
        if one["content"] != content:
            continue
        if one["included"]:
            return ""
        if one["hub"]:
            hub.check_id(one["checkpoint"])
            return one["checkpoint"]
        if base is not None:
            return str(base)
        raise UserError(
            f"{folder} refers to the checkpoint '{one['checkpoint']}' (content {content[:12]}), which was a folder on the "
            "machine that exported it. Give its folder with --base, or export again with --with-base."
        )
    return ""  # all of the decoder's weights were trained: they are in the package


def read_index(folder: Path) -> dict[str, Any]:
    """What a package says about itself. Raises UserError where it can't be read, was changed, or is of another format."""
    try:
        index = json.loads((folder / INDEX).read_text("utf-8"))
        found, said = index.get("format"), index.get("checksum")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / INDEX} can't be read ({error}): {folder} is no export, or a damaged one") from error
    if found != FORMAT:
        raise UserError(f"{folder} has format {found}; this tokengrid reads format {FORMAT}. Use the one that made it.")
    if said != checksum_of(index):
        raise UserError(f"{folder / INDEX} was changed since it was exported. Export or copy the cell again.")
    return index


def verify(folder: Path, index: Mapping[str, Any]) -> list[str]:
    """What is wrong with the files of a package; the model card may be edited."""
    problems = []
    root = folder.resolve()
    for name, known in index["files"].items():
        path = folder / name
        if PurePosixPath(name).is_absolute() or root not in path.resolve().parents:
            problems.append(f"{name} is outside the folder")
        elif not NAMES.fullmatch(path.name):
            problems.append(f"{name} is no file of an export")
        elif not path.is_file():
            problems.append(f"{name} is missing")
        elif checksum(path) != known["xxh3"]:
            problems.append(f"{name} was changed: it doesn't match its checksum")
    there = (path for part in PARTS for path in (folder / part).rglob("*") if not path.is_dir())
    names = sorted(path.relative_to(folder).as_posix() for path in there if not path.name.startswith("."))
    return problems + [f"{name} was added" for name in names if name not in index["files"]]


def checksum_of(index: Mapping[str, Any]) -> str:
    """Of everything that an index says but this."""
    body = {key: value for key, value in index.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]
