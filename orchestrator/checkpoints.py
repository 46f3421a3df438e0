"""Checkpoints: where the files of a pretrained model are, and what its content is. Hub ids and local folders alike.

The content of a hub checkpoint is its commit and the hash of the configuration found there; that of a folder is the hash of
its configuration and weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import hub
from orchestrator.errors import StageError, UserError
from orchestrator.hub import Get
from orchestrator.store import checksum

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where weights may be, best first."""
REFUSED = (".h5", ".msgpack", ".ckpt", ".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ot", ".npz", ".gguf", ".onnx")
"""Endings of weights in formats that are not read: some run code of their author, the others are no weights of PyTorch."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose configuration is at hand; its weights may still be to download.

    Attributes:
        name: what the user wrote: a hub id or a folder.
        content: hub commit with the hash of the configuration files (see `commit_in`), or hash of all files.
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

    Weights that are still on the hub are not downloaded, but known to be there and open to this machine: better now than
    after hours of work.

    Args:
        checkpoint: a folder, or a hub id as `microsoft/wavlm-large`.
        revision: a branch, tag or commit of the hub; the cached one, else the newest, by default.
        others: names of files beside `config.json` that belong to the configuration, where they are there.

    Raises:
        UserError: it is not there, can't be reached, needs a licence, or has no weights in a format that is read.
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
    commit = hub.commit_of(checkpoint, revision, CONFIG)
    cache = hub.in_cache(checkpoint, commit)
    if _weights(cache):
        files = _found(hub.completing(checkpoint, commit), names)
    else:
        _check_weights_on_hub(checkpoint, commit, cache)
        files = _found(hub.downloading(checkpoint, commit), names)
    if CONFIG not in files:
        raise UserError(f"the hub checkpoint '{checkpoint}' has no {CONFIG} at {commit[:12]}: it is no model to load")
    return Checkpoint(checkpoint, _hub_content(commit, files), files)


def commit_in(content: str) -> str:
    """The hub commit in the content of a checkpoint."""
    return content.partition("+")[0]


def with_weights(checkpoint: str, content: str, others: Sequence[str] = ()) -> Path:
    """The folder that holds configuration and weights of a checkpoint, downloaded where need be.

    Args:
        checkpoint, others: as given to `locate`.
        content: what `locate` found.

    Raises:
        StageError: the weights are not there, are not open to this machine, or files are no longer those that `locate` saw.
    """
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        if (now := _content(checkpoint, folder, (CONFIG, *others))) != content:
            raise StageError(
                f"the files in {checkpoint} have changed since this run began "
                f"(content {now[:12]}, not {content[:12]}). Run again: what depends on them is computed anew."
            )
        return folder
    commit = commit_in(content)
    try:
        weights = _weights(hub.in_cache(checkpoint, commit)) or _weights(hub.downloading(checkpoint, commit))
        files = _found(hub.completing(checkpoint, commit), (CONFIG, *others))
    except UserError as error:
        raise StageError(f"the weights of '{checkpoint}' at {commit[:12]} are not there: {error}") from error
    if not weights:
        raise StageError(f"the weights of '{checkpoint}' at {commit[:12]} are not there. {hub.advice(checkpoint)}")
    if _hub_content(commit, files) != content:
        raise StageError(
            f"this machine finds other configuration files of '{checkpoint}' at {commit[:12]} ({', '.join(files)}) than "
            f"those that this run began with. {hub.advice(checkpoint)}"
        )
    return weights[0].parent


def _check_weights_on_hub(checkpoint: str, commit: str, cache: Get) -> None:
    try:
        names = hub.names(checkpoint, commit)
    except UserError as error:
        config = cache(CONFIG)
        here = [path.name for path in config.parent.iterdir()] if config else []
        raise type(error)(f"{error} {_expected(here)}" if _refused(here) else str(error)) from error
    found = next((name for name in WEIGHTS if name in names), None)
    if found is None or not hub.gives(checkpoint, commit, found):
        raise UserError(
            f"the hub checkpoint '{checkpoint}' at {commit[:12]} has no weights to load. {_expected(names)}"
        )


def _expected(names: Iterable[str]) -> str:
    """Which weights are read, and which of a checkpoint's files are not."""
    text = f"Expected one of {', '.join(WEIGHTS)}, with every file that an index names."
    if refused := _refused(names):
        text += (
            f" It has {', '.join(refused)}: such files are not read, since opening some of them would run code. "
            "Convert them with save_pretrained."
        )
    return text


def _refused(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.endswith(REFUSED))


def _content(checkpoint: str, folder: Path, names: Sequence[str]) -> str:
    get = _in_folder(folder)
    weights = _weights(get)
    if not weights:
        raise UserError(
            f"the checkpoint folder {checkpoint} has no complete weights. {_expected(p.name for p in folder.iterdir())}"
        )
    return _hash([*_found(get, names).values(), *weights])


def _hub_content(commit: str, files: dict[str, Path]) -> str:
    # A commit is whole, a cache need not be: without its chat template, the same commit asks with another prompt.
    return f"{commit}+{_hash(files.values())[:16]}"


def _hash(files: Iterable[Path]) -> str:
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
        shards = _shards(found)
        if odd := [shard for shard in shards if Path(shard).name != shard]:
            raise UserError(f"{found} names the file '{odd[0]}', which is not beside it. Copy the checkpoint again.")
        parts = [get(shard) for shard in shards]
        if all(parts):
            return [found, *(part for part in parts if part)]
    return []


def _shards(index: Path) -> list[str]:
    """The files that an index of weights names."""
    try:
        names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError("it names no files")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{index} can't be read as an index of weights ({error!r}). Copy the checkpoint again."
        ) from error
    return sorted(names)


def _found(get: Get, names: Sequence[str]) -> dict[str, Path]:
    return {name: path for name in names if (path := get(name)) is not None}


def _in_folder(folder: Path) -> Get:
    return lambda name: path if (path := folder / name).is_file() else None


@contextmanager
def quietly() -> Iterator[None]:
    """transformers without bars while weights load, and without a list of the blocks that are left out."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
