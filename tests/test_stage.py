"""Identity: what changes the output changes it, and nothing else does."""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import subprocess
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.decoders import HfSpec, LoraSettings, Recipe, TinySpec
from orchestrator.encoders.apc import ApcSpec
from orchestrator.encoders.hf import HuggingFaceSpec, Shape
from orchestrator.encoders.spectral import SpectralSpec
from orchestrator.stage import Stage, canonical, runtime, walk
from orchestrator.stages.analysis import Analysis
from orchestrator.stages.annotations import Annotations, Selection
from orchestrator.stages.bpe import Bpe
from orchestrator.stages.codebook import Codebook
from orchestrator.stages.features import Features
from orchestrator.stages.inference import Inference
from orchestrator.stages.pretraining import Pretraining
from orchestrator.stages.recordings import Recordings, SynthesisedRecordings
from orchestrator.stages.sample import Sample
from orchestrator.stages.scoring import Scoring
from orchestrator.stages.speech import CentroidsSpeech, ContinuousSpeech, DiscreteSpeech, NoSpeech
from orchestrator.stages.training import TaskSpec, Training
from orchestrator.stages.units import Units

RECORDINGS = Recordings(content="c0ffee", corpus="mine")
SYNTHESISED = SynthesisedRecordings(
    preset="smoke", corpus_seed=0, content="5poken", generator=1, engine="espeak-ng 1.52"
)
SELECTION = Selection(content="5e1ec7", corpus="mine")
NOTES = Annotations(column="text", content="7ab1e", corpus="mine")
PRETRAINING = Pretraining(recordings=SYNTHESISED, selection=SELECTION)
LOGMEL = SpectralSpec(kind="logmel")
APC = ApcSpec(pretraining=PRETRAINING)
CHECKPOINT = HuggingFaceSpec(
    checkpoint="here/wavlm", content="abc", normalise=True, shape=Shape(layers=3, dimension=32, hop=320, window=400)
)
SAMPLE = Sample(recordings=RECORDINGS, selection=SELECTION, encoder=LOGMEL, layer=0, frames=1000)
CODEBOOK = Codebook(sample=SAMPLE, k=50)
FEATURES = Features(recordings=RECORDINGS, encoder=CHECKPOINT, layer=2)
UNITS = Units(recordings=RECORDINGS, encoder=LOGMEL, layer=0, codebook=CODEBOOK)
BPE = Bpe(units=UNITS, selection=SELECTION, vocabulary=100)
TASK = TaskSpec(name="asr", version=1, variant=None, templates=("Write.\n{speech}",), labels=("a", "b"))


def training(speech: Any, decoder: Any = TinySpec()) -> Training:
    return Training(task=TASK, annotations=NOTES, speech=speech, decoder=decoder, recipe=Recipe(), seed=0)


STAGES: list[Stage] = [
    RECORDINGS,
    SYNTHESISED,
    SELECTION,
    NOTES,
    PRETRAINING,
    SAMPLE,
    CODEBOOK,
    FEATURES,
    Features(recordings=SYNTHESISED, encoder=APC, layer=1),
    UNITS,
    BPE,
    training(NoSpeech()),
    training(ContinuousSpeech(features=(FEATURES,), samples=(SAMPLE,), downsample=2)),
    training(DiscreteSpeech(units=UNITS, dedup=True)),
    training(DiscreteSpeech(units=UNITS, dedup=True, bpe=BPE), HfSpec(checkpoint="there/qwen", content="def")),
    training(CentroidsSpeech(units=UNITS, dedup=False, downsample=2, sample=SAMPLE)),
    training(NoSpeech(), HfSpec(checkpoint="there/qwen", content="def", lora=LoraSettings(targets=("q_proj",)))),
    dataclasses.replace(training(NoSpeech()), init=training(NoSpeech())),
    Analysis(speech=DiscreteSpeech(units=UNITS, dedup=True), annotations=NOTES),
    Scoring(training=training(NoSpeech()), annotations=NOTES),
    Inference(scoring=Scoring(training=training(NoSpeech()), annotations=NOTES), recordings=RECORDINGS),
]
"""One of every class, and of every kind of part. A new stage class needs a line here."""


def changed(value: Any, hint: Any = None) -> Iterator[tuple[str, Any]]:
    """Other values of the same type: (what was changed, the whole with that change), one for each relevant part."""
    if typing.get_origin(hint) is typing.Literal:
        yield from (("", other) for other in typing.get_args(hint) if other != value)
    elif dataclasses.is_dataclass(value):
        for part, path, other in parts(value, is_runtime=False):
            yield f".{part}{path}", replace(value, **{part: other})
    elif isinstance(value, bool):
        yield "", not value
    elif isinstance(value, int):
        yield "", value + 1
    elif isinstance(value, float):
        yield "", value / 2 + 0.1
    elif isinstance(value, tuple):
        yield "", (*value, "more")
    else:
        yield "", f"{value}, changed"


def parts(value: Any, *, is_runtime: bool) -> Iterator[tuple[str, str, Any]]:
    hints = typing.get_type_hints(type(value), vars(sys.modules[type(value).__module__]) | globals())
    for f in dataclasses.fields(value):
        if f.init and bool(f.metadata.get("runtime")) == is_runtime:
            for path, other in changed(getattr(value, f.name), hints[f.name]):
                yield f.name, path, other


def named(stage: Stage) -> str:
    return f"{type(stage).__name__}-{getattr(getattr(stage, 'speech', None), 'kind', '')}".rstrip("-")


def test_every_stage_class_is_tested_here():
    def below(cls: type) -> Iterator[type]:
        for sub in cls.__subclasses__():
            yield sub
            yield from below(sub)

    real = {cls for cls in below(Stage) if cls.__module__.startswith("orchestrator.")}
    assert real == {type(stage) for stage in STAGES}


@pytest.mark.parametrize("stage", STAGES, ids=named)
def test_a_change_anywhere_below_changes_the_identity(stage: Stage):
    seen = {stage.identity: "as it is"}
    for path, other in changed(stage):
        assert other.identity not in seen, f"{path} gives the identity of {seen[other.identity]}"
        seen[other.identity] = path
    assert len(seen) > 1


@pytest.mark.parametrize("stage", STAGES, ids=named)
def test_a_runtime_field_changes_nothing(stage: Stage):
    for name, path, other in parts(stage, is_runtime=True):
        again = replace(stage, **{name: other})
        assert (again.identity, again) == (stage.identity, stage), name + path
        assert name not in stage.config


def test_where_a_checkpoint_lies_and_how_memory_is_spared_is_no_identity():
    moved = replace(FEATURES, encoder=replace(CHECKPOINT, checkpoint="elsewhere/wavlm"))
    assert moved.identity == FEATURES.identity
    small = training(NoSpeech(), HfSpec(checkpoint="a", content="def"))
    recipe = replace(small.recipe, micro_batch_tokens=7)
    assert replace(small, recipe=recipe, decoder=replace(small.decoder, checkpoint="b")).identity == small.identity


def test_name_and_version_are_part_of_the_identity():
    identities = {CODEBOOK.identity}
    for changes in ({"version": 2}, {"name": "vocabulary"}):
        other = type("Other", (Codebook,), changes)
        identities.add(other(sample=SAMPLE, k=50).identity)
    encoder = replace(LOGMEL)
    object.__setattr__(encoder, "version", 2)
    identities.add(replace(CODEBOOK, sample=replace(SAMPLE, encoder=encoder)).identity)
    assert len(identities) == 4


@dataclass(frozen=True)
class Part:
    inner: Any = None
    speed: int | None = runtime(None)


@dataclass(frozen=True)
class OtherPart:
    inner: Any = None


@dataclass(frozen=True, kw_only=True)
class Toy(Stage):
    name: ClassVar[str] = "toy"
    value: Any = None
    workers: int = runtime(1)
    cached: Any = field(default=None, metadata={"runtime": True}, compare=False)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@given(PLAIN, st.randoms())
@settings(deadline=None)
def test_identity_does_not_depend_on_the_order_of_a_dict(value: Any, chance: Any):
    def shuffled(x: Any) -> Any:
        if isinstance(x, list):
            return [shuffled(item) for item in x]
        if isinstance(x, dict):
            keys = list(x)
            chance.shuffle(keys)
            return {key: shuffled(x[key]) for key in keys}
        return x

    assert Toy(value=shuffled(value)).identity == Toy(value=value).identity


@given(PLAIN, PLAIN)
@settings(deadline=None)
def test_other_values_have_other_identities(one: Any, two: Any):
    if one != two:
        assert Toy(value=one).identity != Toy(value=two).identity


def test_values_that_python_calls_equal_are_told_apart():
    assert len({Toy(value=value).identity for value in (1, 1.0, True, "1", None, "None", [1], "")}) == 8


def test_nested_dataclasses_count_by_class_and_content():
    identities = {Toy(value=value).identity for value in (Part(1), Part(2), OtherPart(1), None, Part(Part(1)))}
    assert len(identities) == 5
    assert Toy(value=Part(1, speed=3)).identity == Toy(value=Part(1)).identity


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    "value",
    [
        Path("a"),
        {1, 2},
        frozenset("a"),
        float("nan"),
        float("inf"),
        object(),
        b"bytes",
        np.int64(3),
        np.zeros(2),
        {1: "a key that is no text"},
        lambda: None,
        Part,
        1j,
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_a_stable_form_is_refused_wherever_it_stands(value: Any):
    for whole in (value, [value], {"key": value}, Part(value), (1, Part([value]))):
        with pytest.raises(TypeError):
            _ = Toy(value=whole).identity
    assert Toy(cached=value).identity == Toy().identity  # run-time fields may hold anything


def test_an_enum_stands_for_its_value():
    assert canonical([Colour.RED]) == ["red"]


def test_identities_are_the_same_in_another_process():
    code = "import json, test_stage; print(json.dumps([s.identity for s in test_stage.STAGES]))"
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    here = Path(__file__).parent
    answer = subprocess.run([sys.executable, "-c", code], cwd=here, env=environment, capture_output=True, check=True)
    assert json.loads(answer.stdout) == [stage.identity for stage in STAGES]


def test_inputs_are_found_wherever_they_are_nested_but_not_at_run_time():
    one, two, three, four = (Toy(value=n) for n in range(4))
    top = Toy(value=[Part(one, speed=four), {"key": (two, Part(three))}, one], cached=four)
    assert set(top.inputs) == {one, two, three}
    assert [i.identity for i in top.inputs] == [one.identity, two.identity, three.identity]


def test_a_walk_gives_every_stage_once_and_inputs_first():
    order = [stage.identity for stage in walk(*STAGES)]
    assert len(order) == len(set(order))
    for stage in walk(*STAGES):
        for below in stage.inputs:
            assert order.index(below.identity) < order.index(stage.identity)
    assert {s.identity for s in STAGES} <= set(order)


def test_equal_identities_are_equal_stages_and_are_one_node():
    twin = replace(CODEBOOK, sample=replace(SAMPLE))
    assert twin == CODEBOOK and twin is not CODEBOOK
    assert len(list(walk(twin, CODEBOOK))) == len(list(walk(CODEBOOK)))
