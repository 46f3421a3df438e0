"""The search space: a YAML file whose every list is an axis. Reads it, names all its errors at once, expands it into cells."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

import search_spaces
from orchestrator.cell import Cell
from orchestrator.decoders import DECODERS, Recipe
from orchestrator.encoders import ENCODERS
from orchestrator.errors import UserError, suggest
from tasks import TASKS
from tasks.corpora import READERS

T = TypeVar("T")


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _not_empty(value: tuple[T, ...]) -> tuple[T, ...]:
    if not value:
        raise ValueError("an empty list makes no cell: give at least one value, or leave the key out")
    return value


Axis = Annotated[tuple[T, ...], BeforeValidator(_as_list), AfterValidator(_not_empty)]
"""One value, or a list of them."""
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]
NoneWord = BeforeValidator(lambda value: None if value == "none" else value)
"""`none` may be written for an axis value that is absent."""


def _known(key: str) -> AfterValidator:
    """A name that must be known; `parse` says which are, in the context of the validation."""

    def check(value: str | None, info: ValidationInfo) -> str | None:
        names = (info.context or {}).get(key)
        if value is not None and names is not None and value not in names:
            raise _wrong(f"unknown {key} '{value}'; {suggest(value, names)}")
        return value

    return AfterValidator(check)


def _wrong(problem: str) -> PydanticCustomError:
    return PydanticCustomError("wrong", "{problem}", {"problem": problem})


class Model(BaseModel):
    """Unknown keys are errors; nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class NoneArm(Model):
    """No speech at all."""

    kind: Literal["none"]


class ContinuousArm(Model):
    """Frames through a linear adapter, `downsample` of them concatenated."""

    kind: Literal["continuous"]
    downsample: Axis[PositiveInt] = (2,)


class DiscreteArm(Model):
    """Units of a codebook, de-duplicated or not, with BPE or without."""

    kind: Literal["discrete"]
    codebook: Axis[Annotated[int, Field(ge=2)]]
    codebook_corpus: Axis[Annotated[str | None, _known("corpus")]] = (None,)
    codebook_seed: Axis[Seed] = (0,)
    dedup: Axis[bool] = (True,)
    bpe: Axis[Annotated[Annotated[int, Field(ge=2)] | None, NoneWord]] = (None,)

    @field_validator("bpe")
    @classmethod
    def _holds_the_codebook(cls, bpe: tuple[int | None, ...], info: ValidationInfo) -> tuple[int | None, ...]:
        for k, vocabulary in itertools.product(info.data.get("codebook", ()), bpe):
            if vocabulary is not None and vocabulary < k:
                raise _wrong(
                    f"a BPE vocabulary of {vocabulary} is smaller than the codebook of {k} that it starts from"
                )
        return bpe


def _arm(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Arm = Annotated[NoneArm | ContinuousArm | DiscreteArm, Field(discriminator="kind"), BeforeValidator(_arm)]


class Block(Model):
    """Axes whose product makes cells. A space holds one block or several."""

    task: Axis[Annotated[str, _known("task")]]
    variant: Axis[str | None] = (None,)
    corpus: Axis[Annotated[str, _known("corpus")]]
    fold: Axis[Annotated[str | None, BeforeValidator(lambda v: None if v is None else str(v))]] = (None,)
    encoder: Axis[Annotated[str, _known("encoder")]]
    layer: Axis[Annotated[int, Field(ge=0)]]
    features: Annotated[tuple[Arm, ...], BeforeValidator(_as_list), AfterValidator(_not_empty)]
    decoder: Axis[Annotated[str, _known("decoder")]] = ("tiny",)
    recipe: Axis[Annotated[str, _known("recipe")]] = ("default",)
    seed: Axis[Seed] = (0,)

    @field_validator("variant")
    @classmethod
    def _of_every_task(cls, variant: tuple[str | None, ...], info: ValidationInfo) -> tuple[str | None, ...]:
        for task in (TASKS[name] for name in info.data.get("task", ()) if name in TASKS):
            for value in variant:
                if value is not None and task.variants and value not in task.variants:
                    raise _wrong(f"{task.name} has no variant '{value}'; {suggest(value, task.variants)}")
        return variant


class SampleSettings(Model):
    """How many training frames codebooks and normalisation see, and the seed that draws them."""

    frames: PositiveInt = 200_000
    seed: Seed = 0


class Space(Model):
    """A search space.

    Attributes:
        name: of the space; its file's name by default.
        question: what its matrix answers, in a sentence.
        corpora, encoders, decoders, recipes: definitions, by the names that `grid` uses. Encoders and decoders that need
            no settings are known without one.
        sample: of frames.
        grid: blocks of axes; the cells are the union of their products. A file may write what its blocks share once,
            under `common`.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
    question: str = ""
    corpora: dict[str, Any]
    encoders: dict[str, Any] = {}
    decoders: dict[str, Any] = {}
    recipes: dict[str, Recipe] = {}
    sample: SampleSettings = SampleSettings()
    grid: Annotated[tuple[Block, ...], BeforeValidator(_as_list), AfterValidator(_not_empty)]

    def cells(self) -> list[Cell]:
        """Every cell once, in the order of the file."""
        found = {cell.id: cell for block in self.grid for cell in _expand(block)}
        return list(found.values())


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
    if str(name) not in known:
        raise UserError(f"there is no search space '{name}'; {suggest(name, known)}. A path to a .yaml file works too.")
    return known[str(name)]


def available() -> dict[str, Path]:
    """The spaces that are known by name: those of the working directory before those of the project."""
    folders = [Path(folder) for folder in search_spaces.__path__]
    local = Path.cwd() / "search_spaces"
    return {path.stem: path for folder in [*folders, local] for path in sorted(folder.glob("*.yaml"))}


def load(name: str | Path) -> Space:
    """Reads and checks a space.

    Raises:
        UserError: lists every problem of the file, each with its place and the nearest valid name.
    """
    path = find(name)
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} should hold a mapping with the keys {', '.join(Space.model_fields)}")
    return parse({"name": path.stem, **content}, where=str(path), folder=path.parent)


def parse(content: Mapping[str, Any], where: str = "the space", folder: Path | None = None) -> Space:
    """Checks the content of a space file; relative paths in it are relative to `folder`."""
    problems: list[str] = []
    content = dict(content)
    for section, kinds, key in (
        ("corpora", READERS, "reader"),
        ("encoders", ENCODERS, "kind"),
        ("decoders", DECODERS, "kind"),
    ):
        content[section] = _definitions(content.get(section, {}), section, kinds, key, folder, problems)
    content = _with_common(content, problems)
    try:
        space = Space.model_validate(content, context=_names(content))
    except ValidationError as error:
        problems += _messages(error, "", Space, content)
    if problems:
        raise UserError(f"{where} has {len(problems)} problem(s):\n" + "\n".join(f"  {p}" for p in problems))
    return space


def _with_common(content: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Puts what stands under `common` into every block of the grid that doesn't say otherwise."""
    common = content.pop("common", {})
    if not isinstance(common, dict):
        problems.append(f"common: expected a mapping of axes, got {type(common).__name__}")
    elif common:
        blocks = _as_list(content.get("grid", {}))
        content["grid"] = [common | block if isinstance(block, dict) else block for block in blocks]
    return content


def _names(content: Mapping[str, Any]) -> dict[str, list[str]]:
    """What the grid may name: what the file defines, and what needs no definition."""
    recipes = content.get("recipes")
    return {
        "task": list(TASKS),
        "corpus": list(content["corpora"]),
        "encoder": [*(name for name in ENCODERS if name != "hf"), *content["encoders"]],
        "decoder": [*(name for name in DECODERS if name != "hf"), *content["decoders"]],
        "recipe": ["default", *(recipes if isinstance(recipes, dict) else ())],
    }


def _definitions(
    given: Any, section: str, kinds: Mapping[str, type[BaseModel]], key: str, folder: Path | None, problems: list[str]
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
                checked[str(name)] = model.model_validate(_anchored(given_keys, folder))
            except ValidationError as error:
                problems += _messages(error, place, model, entry)
            except UserError as error:
                problems.append(f"{place}: {error}")
    # Broken definitions are reported above; the names stay known so that the grid is still checked against them.
    return {str(name): checked.get(str(name)) for name in given}


def _anchored(entry: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """Relative paths of a definition start from the folder of the space's file."""
    anchored = dict(entry)
    for key, value in entry.items():
        if folder and key in PATHS and isinstance(value, str):
            anchored[key] = str(folder / Path(value).expanduser())
        elif key == "checkpoint":
            anchored[key] = _local_checkpoint(value, folder)
    return anchored


PATHS = ("path", "root")
"""Keys of definitions that hold paths of files."""


def _local_checkpoint(value: Any, folder: Path | None) -> Any:
    """A checkpoint that is a folder, by its absolute path: workers don't share this working directory."""
    if isinstance(value, str):
        for base in filter(None, (folder, Path.cwd())):
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


ARMS = {arm.model_fields["kind"].annotation.__args__[0]: arm for arm in (NoneArm, ContinuousArm, DiscreteArm)}


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


def _expand(block: Block) -> Iterator[Cell]:
    axes = (block.task, block.variant, block.corpus, block.fold, block.decoder, block.recipe, block.seed)
    for task, variant, corpus, fold, decoder, recipe, seed in itertools.product(*axes):
        variants = TASKS[task].variants
        for arm, speech in _speech(block):
            yield Cell(
                task=task,
                variant=(variant or variants[0]) if variants else None,
                corpus=corpus,
                fold=fold,
                features=arm.kind,
                decoder=decoder,
                recipe=recipe,
                seed=seed,
                **speech,
            )


def _speech(block: Block) -> Iterator[tuple[NoneArm | ContinuousArm | DiscreteArm, dict[str, Any]]]:
    """The coordinates of speech for each arm: what doesn't apply to it is left out."""
    for arm in block.features:
        if isinstance(arm, NoneArm):
            yield arm, {}
            continue
        axes = [name for name in type(arm).model_fields if name != "kind"]
        for values in itertools.product(block.encoder, block.layer, *(getattr(arm, name) for name in axes)):
            yield arm, dict(zip(("encoder", "layer", *axes), values, strict=True))
