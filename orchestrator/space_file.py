"""The file of a search space: reads the YAML, names all its errors at once, each with its place and the nearest name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

import search_spaces
from orchestrator import decoders, encoders
from orchestrator.errors import UserError, suggest
from orchestrator.inheritance import extended
from orchestrator.recipes import RECIPES
from orchestrator.space import ARMS, Space, as_list
from tasks import TASKS
from tasks.corpora import READERS


def find(name: str | Path) -> Path:
    """The file of a space given by path or by its name in `search_spaces/`, here or in the installed project.

    Raises:
        UserError: there is none; names the nearest one.
    """
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"there is no search space file {path}")
        return path
    known = available()
    if str(name).startswith(PART):
        known |= _files(f"{PART}*.yaml")
    if str(name) not in known:
        raise UserError(f"there is no search space '{name}'; {suggest(name, known)}. A path to a .yaml file works too.")
    return known[str(name)]


def available() -> dict[str, Path]:
    """The spaces that are known by name: those of the working directory before those of the project."""
    return {name: path for name, path in _files("*.yaml").items() if not name.startswith(PART)}


def _files(pattern: str) -> dict[str, Path]:
    folders = [Path(folder) for folder in search_spaces.__path__]
    local = Path.cwd() / "search_spaces"
    return {path.stem: path for folder in [*folders, local] for path in sorted(folder.glob(pattern))}


PART = "_"
"""Begins the name of a file that is no space by itself: others extend it."""


def load(name: str | Path) -> Space:
    """Reads and checks a space.

    Raises:
        UserError: lists every problem of the file, each with its place and the nearest valid name.
    """
    path = find(name)
    problems: list[str] = []
    return parse({"name": path.stem, **_read(path, problems)}, where=str(path), problems=problems)


def _read(path: Path, problems: list[str], below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The content of a file, with what it extends, and with its paths told from its own folder."""
    path = path.resolve()
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} should hold a mapping with the keys {', '.join(Space.model_fields)}")
    content = _anchored(content, path.parent)
    if path in below:
        raise UserError(f"{path} extends itself, by way of {', '.join(str(p) for p in below)}")
    merged: dict[str, Any] = {}
    for parent in as_list(content.get("extends") or []):
        above = path.parent / str(parent) if str(parent).endswith((".yaml", ".yml")) else str(parent)
        found = _read(find(above), problems, (*below, path))
        merged = extended(merged, found, None) if merged else found
    return extended(merged, content, problems) if merged else content


KINDS: tuple[tuple[str, Mapping[str, type[BaseModel]], str], ...] = (
    ("corpora", READERS, "reader"),
    ("encoders", encoders.ENCODERS, "kind"),
    ("decoders", decoders.DECODERS, "kind"),
)
"""Sections of definitions, what can be defined there, and the key that says which."""


def parse(content: Mapping[str, Any], where: str = "the space", problems: list[str] | None = None) -> Space:
    """Checks the content of a space file.

    Args:
        where: how messages name it.
        problems: what was found wrong before.
    """
    problems = [] if problems is None else problems
    content = dict(content)
    for section, kinds, key in KINDS:
        content[section] = _definitions(content.get(section, {}), section, kinds, key, problems)
    content = _with_common(content, problems)
    try:
        space = Space.model_validate(content, context=_names(content))
    except ValidationError as error:
        problems += _messages(error, "", Space, content)
    if problems := list(dict.fromkeys(problems)):  # the members of a family share their mistakes
        raise UserError(f"{where} has {len(problems)} problem(s):\n" + "\n".join(f"  {p}" for p in problems))
    return space


def _with_common(content: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Puts what stands under `common` into every block of the grid that doesn't say otherwise."""
    common = content.pop("common", {})
    if not isinstance(common, dict):
        problems.append(f"common: expected a mapping of axes, got {type(common).__name__}")
    elif common:
        blocks = as_list(content.get("grid", {}))
        content["grid"] = [common | block if isinstance(block, dict) else block for block in blocks]
    return content


def _names(content: Mapping[str, Any]) -> dict[str, list[str]]:
    """What the grid may name: what the file defines, and what needs no definition."""
    recipes = content.get("recipes")
    return {
        "task": list(TASKS),
        "corpus": list(content["corpora"]),
        "encoder": [*encoders.names(), *content["encoders"]],
        "decoder": [*decoders.names(), *content["decoders"]],
        "recipe": [*RECIPES, *(recipes if isinstance(recipes, dict) else ())],
    }


def _definitions(
    given: Any, section: str, kinds: Mapping[str, type[BaseModel]], key: str, problems: list[str]
) -> dict[str, Any]:
    """Checks a section of named definitions, each of the kind that its `kind` or `reader` names."""
    if not isinstance(given, dict):
        problems.append(f"{section}: expected a mapping of names to definitions, got {type(given).__name__}")
        return {}
    checked: dict[str, Any] = {}
    for name, entry in given.items():
        place = f"{section}.{name}"
        if not isinstance(entry, dict) or key not in entry:
            problems.append(f"{place}: expected a mapping with '{key}' ({suggest(name, kinds)})")
        elif not isinstance(entry[key], str) or entry[key] not in kinds:
            problems.append(f"{place}.{key}: unknown {key} '{entry[key]}'; {suggest(entry[key], kinds)}")
        else:
            model = kinds[entry[key]]
            given_keys = {k: v for k, v in entry.items() if k != key or key in model.model_fields}
            try:
                checked[str(name)] = model.model_validate(given_keys)
            except ValidationError as error:
                problems += _messages(error, place, model, entry)
            except UserError as error:
                problems.append(f"{place}: {error}")
    # Broken definitions are reported above; the names stay known so that the grid is still checked against them.
    return {str(name): checked.get(str(name)) for name in given}


def _anchored(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The content of a file whose definitions have their environment variables filled in, and absolute paths."""
    content = dict(content)
    for section, kinds, key in KINDS:
        if isinstance(given := content.get(section), dict):
            content[section] = {
                name: _with_paths(entry, kinds.get(entry.get(key)), folder) if isinstance(entry, dict) else entry
                for name, entry in given.items()
            }
    return content


def _with_paths(entry: dict[str, Any], model: type[BaseModel] | None, folder: Path) -> dict[str, Any]:
    """A definition with paths relative to the folder of its file made absolute."""
    fields = model.model_fields if model else {}
    anchored = {}
    for key, value in entry.items():
        if isinstance(value, str):
            # What an environment variable says starts from where the user stands; one that is not set stays as it is,
            # and is told when it is needed.
            base = Path.cwd() if VARIABLE.match(value) else folder
            value = VARIABLE.sub(lambda found: os.environ.get(found[1].strip("{}")) or found[0], value)
            if key == "checkpoint":
                value = _local_checkpoint(value, folder)
            elif key in fields and _is_path(fields[key].annotation) and not VARIABLE.search(value):
                value = str((base / Path(value).expanduser()).absolute())
        anchored[key] = value
    return anchored


VARIABLE = re.compile(r"\$(\w+|\{\w+\})")
"""An environment variable. After reading, only those are left that nobody has set."""


def unset_variables(model: BaseModel) -> list[str]:
    """The environment variables that a definition needs and that are not set."""
    texts = [str(value) for _, value in model if isinstance(value, (str, Path))]
    return sorted({name.strip("{}") for text in texts for name in VARIABLE.findall(text)})


def _is_path(annotation: Any) -> bool:
    return annotation is Path or any(_is_path(part) for part in get_args(annotation))


def _local_checkpoint(value: str, folder: Path) -> str:
    """A checkpoint that is a folder, by its absolute path: workers don't share this working directory."""
    for base in (folder, Path.cwd()):
        if (found := base / Path(value).expanduser()).is_dir():
            return str(found.absolute())
    return value


def _messages(error: ValidationError, place: str, model: type[BaseModel], content: Any) -> Iterator[str]:
    for problem in error.errors():
        steps = _steps(problem["loc"], content)
        where = ".".join([place, *steps] if place else steps) or "the space"
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            yield f"{where}: unknown key; {suggest(steps[-1], _keys_at(model, problem['loc'][:-1]))}"
        elif problem["type"] == "wrong":
            yield f"{where}: {problem['msg']}"
        elif problem["type"] == "missing":
            yield f"{where}: this key is missing"
        elif problem["type"] == "union_tag_invalid":
            yield f"{where}: unknown features '{problem['ctx']['tag']}'; {suggest(problem['ctx']['tag'], ARMS)}"
        else:
            yield f"{where}: {problem['msg'].removeprefix('Value error, ')}, got {problem['input']!r}"


def _steps(loc: tuple[int | str, ...], content: Any) -> list[str]:
    """A place as the file has it: a single value is no list there, and the kind of features is no key."""
    steps = []
    for step in loc:
        if isinstance(step, int) and not isinstance(content, (list, tuple)):
            continue
        inside = isinstance(step, int) or (isinstance(content, Mapping) and step in content)
        if not inside and (step in ARMS or "[" in step):
            continue
        steps.append(str(step))
        content = content[step] if inside else None
    return steps


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that are valid at a place in a model, as far as they can be told."""
    current: Any = model
    for step in loc:
        if isinstance(step, str) and step in ARMS:
            current = ARMS[step]
        elif step in (fields := current.__pydantic_fields__):
            current = next(_models_in(fields[step].annotation), current)
    return list(current.__pydantic_fields__)


def _models_in(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and hasattr(annotation, "__pydantic_fields__"):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
