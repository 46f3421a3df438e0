"""The files of a Hugging Face data set on disk: which of them make up which split.

Two layouts are known, as `datasets` and the hub write them: a folder of `Dataset.save_to_disk` (Arrow), and a repository
with Parquet files, whose splits are named by the `configs` of its README.md, or else by the files:
`[config/][data/]train-00000-of-00002.parquet`, `[config/]train/0000.parquet`.
(huggingface.co/docs/hub/datasets-manual-configuration, datasets-file-names-and-splits)
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import UserError, suggest
from tasks.corpora.official import Copy, files_below

PIECE = re.compile(r"(.+)-(\d{5,})-of-(\d{5,})(-[0-9a-f]+)?")
"""`train-00000-of-00002`, with a hash behind it in older ones."""

NAME = re.compile(r"\w[\w.-]*")

Splits = dict[str, list[Path]]


def files(folder: Path, config: str | None, wanted: Collection[str] | None, copy: Copy) -> Splits:
    """The files of each split, in their order.

    Args:
        config: which of several parts of a repository is meant; None if there is one.
        wanted: the splits that are used; None for all there are.
        copy: is told which of them, and which of their numbered pieces, lack.

    Raises:
        UserError: the folder has neither layout, or several parts of which none is named, or its files are ambiguous.
    """
    if (folder / "dataset_dict.json").is_file():
        names = [str(name) for name in _listed(folder / "dataset_dict.json", "splits")]
        found = {name: _saved(_inside(folder, name), copy) for name in names if wanted is None or name in wanted}
    elif (folder / "state.json").is_file():
        found = {"all": _saved(folder, copy)}
        names = ["all"]
    else:
        found = _repository(folder, config, wanted)
        names = list(found)
    for name in sorted(set(wanted or ()) - set(found)):
        copy.wrong(f"splits should be of the data set, which has {', '.join(sorted(names))}", name)
    found = {name: paths for name, paths in found.items() if wanted is None or name in wanted}
    for name, paths in found.items():
        if not NAME.fullmatch(name):
            raise UserError(f"{folder}: splits should be named by letters, digits, '.', '-' and '_': {name!r}")
        _check_pieces(name, [path for path in paths if path.suffix == ".parquet"], copy)
    _check_apart(folder, found)
    return found


def declared_rows(folder: Path, config: str | None) -> dict[str, int]:
    """How many rows a repository's README.md says that each split has; empty where it says nothing."""
    card = _card(folder).get("dataset_info")
    cards = [one for one in (card if isinstance(card, list) else [card]) if isinstance(one, dict)]
    meant = cards if len(cards) < 2 else [one for one in cards if one.get("config_name") == config]
    return {
        str(split["name"]): split["num_examples"]
        for one in meant[:1]
        for split in one.get("splits") or []
        if isinstance(split, dict) and "name" in split and isinstance(split.get("num_examples"), int)
    }


def _saved(folder: Path, copy: Copy) -> list[Path]:
    state = folder / "state.json"
    if not state.is_file():
        copy.lacks("splits are missing", f"{folder.name}/state.json")
        return []
    named = [_inside(folder, str(one["filename"])) for one in _listed(state, "_data_files")]
    for path in named:
        if not path.is_file():
            copy.lacks("files are missing", f"{folder.name}/{path.name}")
    return [path for path in named if path.is_file()]


def _listed(file: Path, key: str) -> list[Any]:
    """A list in a JSON file of `datasets`."""
    try:
        found = json.loads(file.read_text("utf-8"))[key]
        if not isinstance(found, list) or not all("filename" in one for one in found if key == "_data_files"):
            raise TypeError(f"{key} should be a list of {'files' if key == '_data_files' else 'names'}")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is not as `datasets` writes it ({type(error).__name__}: {error}); is it whole?"
        ) from error
    return found


def _repository(folder: Path, config: str | None, wanted: Collection[str] | None) -> Splits:
    listed = _card(folder).get("configs") or []
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise UserError(
            f"README.md in {folder}: configs should list mappings with config_name and data_files: {listed}"
        )
    written = {str(one.get("config_name", "default")): one for one in listed}
    configured = {
        name: splits for name, one in written.items() if (splits := _configured(folder, one.get("data_files")))
    }
    parts = configured or _by_name(folder)
    if not parts:
        raise UserError(
            f"{folder} should be a folder of Dataset.save_to_disk (with dataset_dict.json or state.json), or have Parquet "
            "files as a repository of the hub has. A folder of audio files with a table is read by reader: manifest"
        )
    if config is None and len(parts) > 1:
        raise UserError(f"{folder} has {len(parts)} parts; say config: one of {', '.join(sorted(parts))}")
    if config is not None and config not in parts:
        raise UserError(f"{folder} has no part '{config}': {suggest(config, parts)}")
    chosen = parts[config or next(iter(parts))]
    if not configured:
        _check_schemes(folder, {name: paths for name, paths in chosen.items() if wanted is None or name in wanted})
    return chosen


def _configured(folder: Path, data_files: Any) -> Splits:
    """The splits of one of the configs of a README.md: patterns by split, or patterns alone, which train."""
    entries = data_files if isinstance(data_files, list) else [data_files]
    if wrong := [entry for entry in entries if isinstance(entry, dict) and "path" not in entry]:
        raise UserError(f"README.md in {folder}: data_files should have a path: {wrong[0]}")
    found: Splits = {}
    for entry in (one for one in entries if one is not None):
        split, patterns = (entry.get("split", "train"), entry["path"]) if isinstance(entry, dict) else ("train", entry)
        for pattern in patterns if isinstance(patterns, list) else [patterns]:
            found.setdefault(str(split), []).extend(_matching(folder, pattern))
    return {split: list(dict.fromkeys(paths)) for split, paths in found.items() if paths}


def _matching(folder: Path, pattern: Any) -> list[Path]:
    try:
        if not isinstance(pattern, str):
            raise TypeError("it should be text")
        _inside(folder, pattern)
        return sorted(path for path in folder.glob(pattern) if path.suffix == ".parquet")
    except (ValueError, TypeError, IndexError) as error:  # what pathlib makes of '' and '.'
        raise UserError(f"README.md in {folder}: {pattern!r} is no pattern of data_files: {error}") from error


def _by_name(folder: Path) -> dict[str, Splits]:
    parts: dict[str, Splits] = {}
    for path in map(Path, files_below(folder, ".parquet")):
        above = list(path.relative_to(folder).parts[:-1])
        piece = PIECE.fullmatch(path.stem)
        split = piece[1] if piece else path.stem
        if path.stem.isdigit() and above:  # train/0000.parquet
            split = above.pop()
        part = "/".join(name for name in above if name != "data") or "default"
        parts.setdefault(part, {}).setdefault(split, []).append(path)
    return parts


def _check_schemes(folder: Path, chosen: Splits) -> None:
    """Whether the files that fill a split by their names are named in one way: another way is another copy of it."""
    for split, paths in chosen.items():
        schemes: dict[tuple[Any, ...], Path] = {}
        for path in paths:
            piece = PIECE.fullmatch(path.stem)
            way = ("pieces", piece[3], bool(piece[4])) if piece else ("number" if path.stem.isdigit() else "name",)
            schemes.setdefault((path.parent, *way), path)
        if len(schemes) > 1:
            listed = ", ".join(str(path.relative_to(folder)) for path in schemes.values())
            raise UserError(
                f"{folder}: the split '{split}' is there in {len(schemes)} ways of naming files, as {listed}; "
                "remove all but one, or say in README.md which files are meant (configs, with data_files)"
            )


def _check_apart(folder: Path, found: Splits) -> None:
    """Whether no file is in two splits, so that nothing is trained on that is tested."""
    taken: dict[Path, list[str]] = {}
    for split, paths in found.items():
        for path in paths:
            taken.setdefault(path, []).append(split)
    if twice := {path: names for path, names in taken.items() if len(names) > 1}:
        named = "; ".join(f"{path.relative_to(folder)} ({', '.join(names)})" for path, names in list(twice.items())[:5])
        raise UserError(
            f"{folder}: a file should be in one split, and {len(twice)} are in several: {named}. Mend data_files in "
            "README.md, or name the splits that are meant under splits"
        )


def _check_pieces(split: str, paths: list[Path], copy: Copy) -> None:
    """Whether each file that says `-of-00002` has its fellows; folders of save_to_disk list theirs."""
    there: dict[tuple[str, int], set[int]] = {}
    for path in paths:
        if piece := PIECE.fullmatch(path.stem):
            there.setdefault((piece[1], int(piece[3])), set()).add(int(piece[2]))
    for (name, count), numbers in there.items():
        for number in sorted(set(range(count)) - numbers):
            copy.lacks("files are missing", f"{split}: {name}-{number:05}-of-{count:05}")


def _card(folder: Path) -> dict[str, Any]:
    """The YAML that README.md begins with."""
    readme = folder / "README.md"
    lines = readme.read_text("utf-8", errors="replace").splitlines() if readme.is_file() else []
    if not lines or lines[0].strip() != "---":
        return {}
    try:
        card = yaml.safe_load("\n".join(_until_rule(lines[1:])))
    except yaml.YAMLError as error:
        raise UserError(f"the head of {readme} is no YAML: {error}") from error
    return card if isinstance(card, dict) else {}


def _until_rule(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if line.strip() == "---":
            return
        yield line


def _inside(folder: Path, name: str) -> Path:
    """A path that a file of the data set names. It must not lead out of the folder."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"{folder}: files should lie in it, and it names {name}")
    return folder / name
