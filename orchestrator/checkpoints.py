"""Checkpoints: where the files of a pretrained model are, and what its content is. Hub ids and local folders alike.

The content of a hub checkpoint is its commit; that of a folder is the hash of its configuration and weights.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import StageError, UserError
from orchestrator.store import checksum

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where weights may be, best first."""
COMMIT = re.compile(r"[0-9a-f]{40}")
TIMEOUT_SECONDS = 10

Get = Callable[[str], Path | None]
"""From the name of a file to where it is, None where there is no such file."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose configuration is at hand; its weights may still be to download.

    Attributes:
        name: what the user wrote: a hub id or a folder.
        content: hub commit, or hash of the files.
        files: the configuration files that it has, by name.
    """

    name: str
    content: str
    files: dict[str, Path]

    def json(self, name: str) -> dict[str, Any]:
        """The content of a configuration file, empty where there is no such file."""
        if name not in self.files:
            return {}
        try:
            content = json.loads(self.files[name].read_text("utf-8"))
        except ValueError as error:
            raise UserError(f"{name} of the checkpoint '{self.name}' is not JSON ({error}). Copy it again.") from error
        if not isinstance(content, dict):
            raise UserError(f"{name} of the checkpoint '{self.name}' is not a JSON object. Copy it again.")
        return content


def locate(checkpoint: str, revision: str | None = None, others: Sequence[str] = ()) -> Checkpoint:
    """Finds a checkpoint: in a local folder, in the hub's cache, else on the hub (its configuration alone).

    Args:
        checkpoint: a folder, or a hub id as `microsoft/wavlm-large`.
        revision: a branch, tag or commit of the hub; the cached one, else the newest, by default.
        others: names of files beside `config.json` that belong to the configuration, where they are there.

    Raises:
        UserError: it is not there, or can't be reached.
    """
    names = (CONFIG, *others)
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise UserError(f"'{checkpoint}' is a folder, which has no revision '{revision}'. Leave the revision out.")
        files = _found(_in_folder(folder), names)
        if CONFIG not in files:
            raise UserError(
                f"the folder {checkpoint} is no checkpoint: it has no {CONFIG}. "
                "Expected the files that save_pretrained writes."
            )
        return Checkpoint(checkpoint, _content(checkpoint, folder, names), files)
    if checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") > 1:
        raise UserError(
            f"there is no checkpoint folder '{checkpoint}'. Expected a folder with {CONFIG} and weights, "
            "or a hub id such as 'microsoft/wavlm-large'."
        )
    commit = _commit(checkpoint, revision)
    files = _found(_in_cache(checkpoint, commit), names)
    if CONFIG not in files:
        files = _found(_on_hub(checkpoint, commit), names)
    if CONFIG not in files:
        raise UserError(f"the hub checkpoint '{checkpoint}' has no {CONFIG} at {commit[:12]}. {_advice(checkpoint)}")
    return Checkpoint(checkpoint, commit, files)


def with_weights(checkpoint: str, content: str, others: Sequence[str] = ()) -> Path:
    """The folder that holds configuration and weights of a checkpoint, downloaded where need be.

    Args:
        checkpoint, others: as given to `locate`.
        content: what `locate` found.

    Raises:
        StageError: the weights are not there, or are no longer those that `locate` saw.
    """
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        if (now := _content(checkpoint, folder, (CONFIG, *others))) != content:
            raise StageError(
                f"the files in {checkpoint} have changed since this run began "
                f"(content {now[:12]}, not {content[:12]}). Run again: what depends on them is computed anew."
            )
        return folder
    for get in (_in_cache(checkpoint, content), _on_hub(checkpoint, content)):
        if weights := _weights(get):
            _found(get, (CONFIG, *others))
            return weights[0].parent
    raise StageError(f"the weights of '{checkpoint}' at {content[:12]} are not there. {_advice(checkpoint)}")


def _content(checkpoint: str, folder: Path, names: Sequence[str]) -> str:
    get = _in_folder(folder)
    weights = _weights(get)
    if not weights:
        raise UserError(
            f"the checkpoint folder {checkpoint} has no complete weights. Expected one of {', '.join(WEIGHTS)}, "
            "with every file that an index names."
        )
    files = [*_found(get, names).values(), *weights]
    sums = {path.name: checksum(path) for path in files}
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()[:32]


def _weights(get: Get) -> list[Path]:
    """The files of the best weights that are there whole; none where there are none."""
    for name in WEIGHTS:
        found = get(name)
        if found is None:
            continue
        if not name.endswith(".index.json"):
            return [found]
        shards = sorted(set(json.loads(found.read_text("utf-8"))["weight_map"].values()))
        parts = [get(shard) for shard in shards]
        if all(parts):
            return [found, *(part for part in parts if part)]
    return []


def _found(get: Get, names: Sequence[str]) -> dict[str, Path]:
    return {name: path for name in names if (path := get(name)) is not None}


def _in_folder(folder: Path) -> Get:
    return lambda name: path if (path := folder / name).is_file() else None


def _in_cache(checkpoint: str, revision: str) -> Get:
    from huggingface_hub import try_to_load_from_cache

    def get(name: str) -> Path | None:
        found = try_to_load_from_cache(checkpoint, name, revision=revision)
        return Path(found) if isinstance(found, str) else None

    return get


def _on_hub(checkpoint: str, commit: str) -> Get:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    def get(name: str) -> Path | None:
        try:
            return Path(hf_hub_download(checkpoint, name, revision=commit))
        except EntryNotFoundError:
            return None

    return get


def _commit(checkpoint: str, revision: str | None) -> str:
    """The commit of a revision, from the cache if it is there: a run never drifts to a newer commit by itself."""
    if revision and COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi

    if (cached := _in_cache(checkpoint, revision or "main")(CONFIG)) is not None:
        return cached.parent.name
    try:
        commit = HfApi().model_info(checkpoint, revision=revision, timeout=TIMEOUT_SECONDS).sha
    except Exception as error:  # whatever the hub's client and its transport raise, the user can do the same about it
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"the hub checkpoint '{checkpoint}' is not in the cache, and the hub says: {reason}. {_advice(checkpoint)}"
        ) from error
    if commit is None:
        raise UserError(f"the hub names no commit of '{checkpoint}'. Give one as revision.")
    return commit


def _advice(checkpoint: str) -> str:
    return (
        f"On a machine with network run `hf download {checkpoint}` and copy its cache here (HF_HOME says where), "
        "or give the folder of a local copy."
    )
