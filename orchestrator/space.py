"""The search space: its schema, in which every list is an axis, and its expansion into cells. `space_file` reads it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from orchestrator.cell import WEIGHTED, Cell, Init
from orchestrator.decoders import Recipe, check_template
from orchestrator.errors import UserError, suggest
from orchestrator.recipes import RECIPES, member_name, members
from orchestrator.reference import Reference
from tasks import TASKS

T = TypeVar("T")


def as_list(value: Any) -> Any:
    """A value that may stand alone as the list it means."""
    return value if isinstance(value, list) else [value]


def _not_empty(value: tuple[T, ...]) -> tuple[T, ...]:
    if not value:
        raise ValueError("an empty list makes no cell: give at least one value, or leave the key out")
    return value


Axis = Annotated[tuple[T, ...], BeforeValidator(as_list), AfterValidator(_not_empty)]
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


class _Codebooks(Model):
    codebook: Axis[Annotated[int, Field(ge=2)]]
    codebook_corpus: Axis[Annotated[str | None, _known("corpus")]] = (None,)
    codebook_seed: Axis[Seed] = (0,)


class CentroidsArm(_Codebooks):
    """The centroids of the units through the adapter: the control between the two arms.

    All frames, `downsample` of them concatenated, differ from `continuous` by quantising alone; de-duplicated, one a
    position whatever `downsample` says, they differ from `discrete` without BPE by the look-up alone.
    """

    kind: Literal["centroids"]
    downsample: Axis[PositiveInt] = (2,)
    dedup: Axis[bool] = (False, True)


class DiscreteArm(_Codebooks):
    """Units of a codebook, de-duplicated or not, with BPE or without."""

    kind: Literal["discrete"]
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


AnyArm = NoneArm | ContinuousArm | DiscreteArm | CentroidsArm
Arm = Annotated[AnyArm, Field(discriminator="kind"), BeforeValidator(_arm)]
ARMS: dict[str, type[Model]] = {
    arm.model_fields["kind"].annotation.__args__[0]: arm for arm in (NoneArm, ContinuousArm, DiscreteArm, CentroidsArm)
}
"""The kinds of features, by name."""


def _layer(value: Any) -> int | str:
    if value == WEIGHTED or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise _wrong(f"a layer should be a whole number, 0 or more, or '{WEIGHTED}', got {value!r}")


Layer = Annotated[int | str, BeforeValidator(_layer)]


class Block(Model):
    """Axes whose product makes cells. A space holds one block or several."""

    task: Axis[Annotated[str, _known("task")]]
    variant: Axis[str | None] = (None,)
    corpus: Axis[Annotated[str, _known("corpus")]]
    fold: Axis[Annotated[str | None, BeforeValidator(lambda v: None if v is None else str(v))]] = (None,)
    encoder: Axis[Annotated[str, _known("encoder")]]
    layer: Axis[Layer]
    features: Annotated[tuple[Arm, ...], BeforeValidator(as_list), AfterValidator(_not_empty)]
    decoder: Axis[Annotated[str, _known("decoder")]] = ("tiny",)
    recipe: Axis[Annotated[str, _known("recipe")]] = ("default",)
    init: Axis[Annotated[str | None, NoneWord]] = (None,)
    seed: Axis[Seed] = (0,)

    @field_validator("init")
    @classmethod
    def _starts_from_a_cell(cls, init: tuple[str | None, ...], info: ValidationInfo) -> tuple[str | None, ...]:
        for value in filter(None, init):
            start = Init.parse(value)
            if start.task not in TASKS:
                raise _wrong(f"no task '{start.task}' to start from; {suggest(start.task, TASKS)}")
            if start.task in info.data.get("task", ()):
                raise _wrong(f"a cell of {start.task} can't start from {start.task}: name another task")
        return init

    @model_validator(mode="after")
    def _weighted_is_continuous(self) -> Self:
        if set(self.layer) == {WEIGHTED} and not any(isinstance(arm, ContinuousArm) for arm in self.features):
            raise _wrong(f"layer '{WEIGHTED}' is for continuous features only, and there are none: name a layer")
        return self

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


def _recipe_name(name: str) -> str:
    if "@" in name or ":" in name:
        raise _wrong(f"a recipe's name has no '@' and no ':', which name a learning rate and a start; got '{name}'")
    return name


def _template(text: str) -> str:
    try:
        check_template(text)
    except UserError as error:
        raise _wrong(str(error)) from error
    return text


class Space(Model):
    """A search space.

    Attributes:
        name: of the space; its file's name by default.
        question: what its matrix answers, in a sentence.
        setup: what to do before its first run, in a sentence; said when something that it names is not there.
        corpora, encoders, decoders, recipes: definitions, by the names that `grid` uses. Encoders, decoders and recipes
            that need no settings are known without one. A recipe with a list of learning rates is a family: its members
            are cells of their own, of which the matrix shows the one that is best on dev, for each arm separately.
        prompts: task → one or more templates with the placeholder `{speech}`; the task's own by default.
        sample: of frames.
        trials_at_once: most cells that train at once; 1 to measure times. Shared stages are then built before.
        reference: published figures, shown beside ours.
        grid: blocks of axes; the cells are the union of their products. A file may write what its blocks share once,
            under `common`.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
    question: str = ""
    setup: str = ""
    corpora: dict[str, Any]
    encoders: dict[str, Any] = {}
    decoders: dict[str, Any] = {}
    recipes: dict[
        Annotated[str, AfterValidator(_recipe_name)],
        Annotated[tuple[Recipe, ...], BeforeValidator(members), AfterValidator(_not_empty)],
    ] = {}
    prompts: dict[Annotated[str, _known("task")], Axis[Annotated[str, AfterValidator(_template)]]] = {}
    sample: SampleSettings = SampleSettings()
    trials_at_once: PositiveInt | None = None
    reference: Reference | None = None
    grid: Annotated[tuple[Block, ...], BeforeValidator(as_list), AfterValidator(_not_empty)]

    @model_validator(mode="after")
    def _starts_have_recipes(self) -> Self:
        known = [member for name in {**RECIPES, **self.recipes} for member, _ in self._family(name)]
        for number, block in enumerate(self.grid):
            for recipe in {Init.parse(init).recipe for init in block.init if init} - {None, *known}:
                raise _wrong(f"grid.{number}.init: no recipe '{recipe}' to start from; {suggest(recipe, known)}")
        return self

    def cells(self) -> list[Cell]:
        """Every cell once, in the order of the file."""
        found = {cell.id: cell for block in self.grid for cell in self._expand(block)}
        return list(found.values())

    def recipe(self, name: str) -> Recipe:
        """The recipe that a cell names: a single one, or a member of a family."""
        return next(recipe for member, recipe in self._family(name.partition("@")[0]) if member == name)

    def templates(self, task: str, variant: str | None) -> tuple[str, ...]:
        """The prompts of a task, the first of them the one that dev and test are asked with."""
        return TASKS[task].templates_for(variant, self.prompts.get(task, ()))

    def _family(self, name: str) -> list[tuple[str, Recipe]]:
        recipes = self.recipes.get(name) or RECIPES[name]
        return [(member_name(name, recipe, recipes), recipe) for recipe in recipes]

    def _expand(self, block: Block) -> Iterator[Cell]:
        recipes = [member for name in block.recipe for member, _ in self._family(name)]
        axes = (block.task, block.variant, block.corpus, block.fold, block.decoder, recipes, block.init, block.seed)
        for task, variant, corpus, fold, decoder, recipe, init, seed in itertools.product(*axes):
            variants = TASKS[task].variants
            for kind, speech in _speech(block):
                yield Cell(
                    task=task,
                    variant=(variant or variants[0]) if variants else None,
                    corpus=corpus,
                    fold=fold,
                    features=kind,
                    decoder=decoder,
                    recipe=recipe,
                    init=init,
                    seed=seed,
                    **speech,
                )


def _speech(block: Block) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The coordinates of speech for each arm: what doesn't apply to it is left out."""
    for arm in block.features:
        if isinstance(arm, NoneArm):
            yield arm.kind, {}
            continue
        axes = [name for name in type(arm).model_fields if name != "kind"]
        layers = [layer for layer in block.layer if layer != WEIGHTED or isinstance(arm, ContinuousArm)]
        for values in itertools.product(block.encoder, layers, *(getattr(arm, name) for name in axes)):
            speech = dict(zip(("encoder", "layer", *axes), values, strict=True))
            if isinstance(arm, CentroidsArm) and speech["dedup"]:
                speech["downsample"] = 1
            yield arm.kind, speech
