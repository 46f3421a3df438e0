"""Search spaces: every list is an axis, every error of a file is named at once, and cells keep their ids."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import space_file as space
from orchestrator.cell import Cell, matches
from orchestrator.errors import UserError
from tasks import TASKS

GOOD: dict[str, Any] = {
    "name": "good",
    "corpora": {"spoken": {"reader": "synthetic", "preset": "smoke"}, "other": {"reader": "synthetic"}},
    "recipes": {"quick": {"batch": 8}},
    "grid": {
        "task": "asr",
        "corpus": "spoken",
        "encoder": "logmel",
        "layer": 0,
        "features": ["none", {"kind": "continuous", "downsample": 3}, {"kind": "discrete", "codebook": [50, 100]}],
        "recipe": "quick",
    },
}


def with_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The good space with other values at dotted places; `...` removes a key."""
    content = copy.deepcopy(GOOD)
    for place, value in changes.items():
        *above, last = place.split(".")
        inside: Any = content
        for step in above:
            inside = inside[int(step) if isinstance(inside, list) else step]
        if value is ...:
            del inside[last]
        else:
            inside[int(last) if isinstance(inside, list) else last] = value
    return content


def problems_of(content: Mapping[str, Any]) -> list[str]:
    with pytest.raises(UserError) as caught:
        space.parse(content)
    head, *lines = str(caught.value).splitlines()
    assert head.startswith(f"the space has {len(lines)} problem(s)")
    return [line.strip() for line in lines]


WRONG = [
    ("corpora.spoken.reader", "synthetik", "corpora.spoken.reader: unknown reader 'synthetik'; did you mean 'synthe"),
    ("corpora.spoken.preset", "smok", "corpora.spoken.preset: there is no preset 'smok': did you mean 'smoke'?"),
    ("corpora.spoken.sed", 1, "corpora.spoken.sed: unknown key; did you mean 'seed'?"),
    ("corpora.spoken", "synthetic", "corpora.spoken: expected a mapping with 'reader'"),
    ("corpora.mine", {"reader": "manifest"}, "corpora.mine.path: this key is missing"),
    ("encoders", {"e": {"kind": "apcc"}}, "encoders.e.kind: unknown kind 'apcc'; did you mean 'apc'?"),
    ("encoders", {"e": {"kind": "apc", "hiden": 3}}, "encoders.e.hiden: unknown key; did you mean 'hidden'?"),
    ("encoders", ["apc"], "encoders: expected a mapping of names to definitions, got list"),
    ("decoders", {"t": {"kind": "tiny", "layers": "two"}}, "decoders.t.layers: Input should be a valid integer"),
    ("recipes.quick.batch", 0, "recipes.quick.batch: Input should be greater than or equal to 1, got 0"),
    ("recipes.quick.learn_rate", 1, "recipes.quick.learn_rate: unknown key; did you mean 'learning_rate'?"),
    ("sample", {"frames": -1}, "sample.frames: Input should be greater than 0, got -1"),
    ("gird", [], "gird: unknown key; did you mean 'grid'?"),
    ("grid", [], "grid: an empty list makes no cell"),
    ("grid", ..., "grid: this key is missing"),
    ("grid.task", "ars", "grid.task: unknown task 'ars'; did you mean 'asr'?"),
    ("grid.task", ["asr", "keywrod"], "grid.task.1: unknown task 'keywrod'; did you mean 'keyword'?"),
    ("grid.task", [], "grid.task: an empty list makes no cell"),
    ("grid.task", ..., "grid.task: this key is missing"),
    ("grid.corpus", "spokn", "grid.corpus: unknown corpus 'spokn'; did you mean 'spoken'? Valid: other, spoken"),
    ("grid.encoder", "hubert", "grid.encoder: unknown encoder 'hubert'; did you mean 'hubert-base'? Valid: apc, "),
    ("grid.decoder", "tin", "grid.decoder: unknown decoder 'tin'; did you mean 'tiny'?"),
    (
        "grid.recipe",
        "quik",
        "grid.recipe: unknown recipe 'quik'; did you mean 'quick'? Valid: default, paper, quick, tuned",
    ),
    ("grid.variant", "de", None),
    ("grid.layer", "last", "grid.layer: a layer should be a whole number, 0 or more, or 'weighted', got 'last'"),
    ("grid.layer", -1, "grid.layer: a layer should be a whole number, 0 or more, or 'weighted', got -1"),
    ("grid.init", "keywrod", "grid.init: no task 'keywrod' to start from; did you mean 'keyword'?"),
    ("grid.init", "asr", "grid.init: a cell of asr can't start from asr: name another task"),
    (
        "grid.init",
        ["none", "intent:quik"],
        "the space: grid.0.init: no recipe 'quik' to start from; did you mean 'quick'?",
    ),
    ("prompts", {"ars": "{speech}"}, "prompts.ars: unknown task 'ars'; did you mean 'asr'?"),
    ("prompts", {"asr": "Transcribe."}, "prompts.asr: the prompt template 'Transcribe.' should have the placeholder"),
    ("prompts", {"asr": ["{speech}", "{speech} {speech}"]}, "prompts.asr.1: the prompt template '{speech} {speech}'"),
    ("recipes.quick.learning_rate", [1e-3, -1], "recipes.quick.learning_rate: Input should be greater than 0, got -1"),
    ("recipes.quick.learning_rate", [], "recipes.quick: an empty list makes no cell"),
    ("trials_at_once", 0, "trials_at_once: Input should be greater than 0, got 0"),
    ("reference", {"grade": "S"}, "reference.source: this key is missing"),
    ("reference", {"source": "x", "grade": "Z"}, "reference.grade: Input should be 'S', 'P', 'V' or 'I', got 'Z'"),
    (
        "reference",
        {"source": "x", "figures": [{"cells": {"tsk": 1}, "metric": "wer", "value": 1}]},
        "reference.figures.0: cells have no coordinate 'tsk'; did you mean 'task'?",
    ),
    (
        "reference",
        {"source": "x", "figures": [{"cells": {}, "metric": "were", "value": 1}]},
        "reference.figures.0: there is no metric 'were'; did you mean 'wer'?",
    ),
    (
        "reference",
        {"source": "x", "figures": [{"cells": {}, "metric": "wer"}]},
        "reference.figures.0: a figure has either `value` or `values` by test set",
    ),
    ("grid.seed", [0, -1], "grid.seed.1: Input should be greater than or equal to 0, got -1"),
    ("grid.sede", 0, "grid.sede: unknown key; did you mean 'seed'?"),
    ("grid.features", [], "grid.features: an empty list makes no cell"),
    ("grid.features.0", "nothing", "grid.features.0: unknown features 'nothing'"),
    ("grid.features.0", "discrete", "grid.features.0.codebook: this key is missing"),
    ("grid.features.1.downsample", 0, "grid.features.1.downsample: Input should be greater than 0, got 0"),
    ("grid.features.2.kind", "discret", "grid.features.2: unknown features 'discret'; did you mean 'discrete'?"),
    ("grid.features.2.codebok", 5, "grid.features.2.codebok: unknown key; did you mean 'codebook'?"),
    ("grid.features.2.codebook", [], "grid.features.2.codebook: an empty list makes no cell"),
    ("grid.features.2.codebook", [50, 1], "grid.features.2.codebook.1: Input should be greater than or equal to 2"),
    ("grid.features.2.codebook_corpus", "othr", "grid.features.2.codebook_corpus: unknown corpus 'othr'; did you"),
    ("grid.features.2.dedup", "perhaps", "grid.features.2.dedup: Input should be a valid boolean"),
    (
        "grid.features.2.bpe",
        [200, 60],
        "grid.features.2.bpe: a BPE vocabulary of 60 is smaller than the codebook of 100",
    ),
]


@pytest.mark.parametrize(("place", "value", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_a_mistake_is_named_with_its_place_and_the_nearest_name(place: str, value: Any, message: str | None):
    content = with_changes({place: value})
    if message is None:
        assert space.parse(content).cells()
    else:
        [problem] = problems_of(content)
        assert problem.startswith(message)


MANY_MISTAKES = """
corpora:
  spoken: {reader: synthetik}
  other: {reader: synthetic, sed: 1}
encoders:
  mine: {kind: apc, hiden: 64}
recipes:
  quick: {batch: 0}
sampel: {frames: 10}
grid:
  - task: [asr, keywrod]
    corpus: spoken
    encoder: apx
    layer: deep
    features:
      - non
      - {kind: discrete, codebook: [50, 200], bpe: 100, codebook_corpus: othr}
      - {kind: discrete, codebook: 1}
    decoder: tin
    seed: []
  - task: emotoin
    corpus: [other, spokn]
    encoder: mine
    layer: 0
    features: {kind: continuous, codebook: 5}
    recipe: quik
"""


def test_every_mistake_of_a_file_is_named_at_once():
    found = problems_of(yaml.safe_load(MANY_MISTAKES) | {"name": "many"})
    assert {line.split(": ")[0] for line in found} == {
        "corpora.spoken.reader",
        "corpora.other.sed",
        "encoders.mine.hiden",
        "recipes.quick.batch",
        "sampel",
        "grid.0.task.1",
        "grid.0.encoder",
        "grid.0.layer",
        "grid.0.features.0",
        "grid.0.features.1.bpe",
        "grid.0.features.1.codebook_corpus",
        "grid.0.features.2.codebook",
        "grid.0.decoder",
        "grid.0.seed",
        "grid.1.task",
        "grid.1.corpus.1",
        "grid.1.features.codebook",
        "grid.1.recipe",
    }
    assert len(found) == 18


def test_blocks_of_a_grid_are_told_apart():
    block = GOOD["grid"]
    found = problems_of({**GOOD, "grid": [block, {**block, "task": "ars"}, {**block, "features": ["non"]}]})
    assert [line.split(":")[0] for line in found] == ["grid.1.task", "grid.2.features.0"]


def test_a_variant_belongs_to_its_task():
    [problem] = problems_of(with_changes({"grid.task": ["translation", "asr"], "grid.variant": "dee"}))
    assert problem.startswith("grid.variant: translation has no variant 'dee'; did you mean 'de'?")
    cells = space.parse(with_changes({"grid.task": ["translation", "asr"], "grid.variant": ["de", "zh"]})).cells()
    assert {(cell.task, cell.variant) for cell in cells} == {
        ("translation", "de"),
        ("translation", "zh"),
        ("asr", None),
    }
    default = space.parse(with_changes({"grid.task": "translation"})).cells()
    assert {cell.variant for cell in default} == {TASKS["translation"].variants[0]}


# Files


def test_files_that_hold_no_space_are_refused(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    for content, message in (
        ("a: [", "is not valid YAML"),
        ("- a\n- b", "should hold a mapping"),
        ("", "should hold a mapping"),
        ("!!python/object/apply:os.getcwd []", "is not valid YAML"),
    ):
        file.write_text(content)
        with pytest.raises(UserError, match=message):
            space.load(file)
    file.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(UserError, match="is not valid YAML"):
        space.load(file)
    with pytest.raises(UserError, match="no search space file"):
        space.load(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match=r"no search space 'dem'; did you mean 'demo'"):
        space.load("dem")


def test_a_file_names_the_space_and_anchors_its_paths(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    mine = {"reader": "manifest", "path": "data/table.csv"}
    content = {key: value for key, value in GOOD.items() if key != "name"}
    file.write_text(yaml.safe_dump(content | {"corpora": GOOD["corpora"] | {"mine": mine}}))
    loaded = space.load(file)
    assert loaded.name == "mine"
    assert loaded.corpora["mine"].path == tmp_path / "data" / "table.csv"


@pytest.mark.parametrize("name", sorted(space.available()))
def test_the_spaces_of_the_project_are_good(name: str):
    cells = space.load(name).cells()
    assert cells and len({cell.id for cell in cells}) == len(cells)


def test_the_demo_has_thirty_cells():
    cells = space.load("demo").cells()
    assert len(cells) == 30
    assert {cell.task for cell in cells} == set(TASKS)
    assert {(cell.features, cell.codebook, cell.bpe) for cell in cells if cell.task == "asr"} == {
        ("continuous", None, None),
        ("discrete", 50, None),
        ("discrete", 200, None),
        ("discrete", 200, 400),
        ("none", None, None),
    }


# Expansion


AXES = {
    "task": st.lists(st.sampled_from(sorted(TASKS)), min_size=1, max_size=3),
    "corpus": st.lists(st.sampled_from(["spoken", "other"]), min_size=1, max_size=2),
    "fold": st.lists(st.sampled_from([None, "1", "2"]), min_size=1, max_size=2),
    "encoder": st.lists(st.sampled_from(["logmel", "mfcc", "apc"]), min_size=1, max_size=2),
    "layer": st.lists(st.integers(0, 3), min_size=1, max_size=2),
    "recipe": st.lists(st.sampled_from(["default", "quick"]), min_size=1, max_size=2),
    "seed": st.lists(st.integers(0, 3), min_size=1, max_size=2),
    "features": st.lists(
        st.just("none")
        | st.fixed_dictionaries(
            {"kind": st.just("continuous")},
            optional={"downsample": st.lists(st.integers(1, 4), min_size=1, max_size=2)},
        )
        | st.fixed_dictionaries(
            {"kind": st.just("discrete"), "codebook": st.lists(st.sampled_from([8, 16, 32]), min_size=1, max_size=2)},
            optional={
                "bpe": st.lists(st.sampled_from([None, "none", 40, 50]), min_size=1, max_size=2),
                "dedup": st.lists(st.booleans(), min_size=1, max_size=2),
                "codebook_seed": st.lists(st.integers(0, 1), min_size=1, max_size=2),
                "codebook_corpus": st.lists(st.sampled_from([None, "other"]), min_size=1, max_size=2),
            },
        ),
        min_size=1,
        max_size=3,
    ),
}
BLOCKS = st.fixed_dictionaries(AXES)


def cells_of(*blocks: Mapping[str, Any]) -> list[Cell]:
    return space.parse({**GOOD, "grid": list(blocks)}).cells()


@given(BLOCKS)
@settings(max_examples=60, deadline=None)
def test_the_grid_is_ragged_and_without_duplicates(block: dict[str, Any]):
    cells = cells_of(block)
    assert len({cell.id for cell in cells}) == len(cells) == len(set(cells))
    for cell in cells:
        speech = (cell.encoder, cell.layer)
        units = (cell.codebook, cell.codebook_seed, cell.dedup)
        if cell.features == "none":
            assert {*speech, *units, cell.downsample, cell.bpe, cell.codebook_corpus} == {None}
        elif cell.features == "continuous":
            assert None not in (*speech, cell.downsample)
            assert {*units, cell.bpe, cell.codebook_corpus} == {None}
        else:
            assert None not in (*speech, *units) and cell.downsample is None
    without_speech = [cell for cell in cells if cell.features == "none"]
    axes = ("task", "corpus", "fold", "recipe", "seed")
    combinations = {tuple(getattr(cell, axis) for axis in axes) for cell in cells}
    assert len(without_speech) == (len(combinations) if "none" in block["features"] else 0)


@given(BLOCKS, BLOCKS)
@settings(max_examples=40, deadline=None)
def test_blocks_are_a_union(one: dict[str, Any], two: dict[str, Any]):
    ids = {cell.id for cell in cells_of(one, two)}
    assert ids == {cell.id for cell in cells_of(one)} | {cell.id for cell in cells_of(two)}
    assert len(cells_of(one, one)) == len(cells_of(one))


@given(BLOCKS, st.data())
@settings(max_examples=60, deadline=None)
def test_a_value_more_on_an_axis_keeps_every_other_cell(block: dict[str, Any], data: st.DataObject):
    axis = data.draw(st.sampled_from(sorted(AXES)))
    grown = {**block, axis: [*block[axis], *data.draw(AXES[axis])]}
    before, after = cells_of(block), cells_of(grown)
    assert {cell.id for cell in before} <= {cell.id for cell in after}
    kept = [cell for cell in after if cell in set(before)]
    assert sorted(c.id for c in kept) == sorted(c.id for c in before)


@given(BLOCKS, st.randoms())
@settings(max_examples=40, deadline=None)
def test_the_order_in_a_file_is_no_part_of_an_id(block: dict[str, Any], chance: Any):
    shuffled = {}
    for axis in chance.sample(sorted(block), len(block)):
        shuffled[axis] = chance.sample(block[axis], len(block[axis]))
    assert {cell.id for cell in cells_of(shuffled)} == {cell.id for cell in cells_of(block)}


def test_a_single_value_is_a_list_of_one():
    block = {**GOOD["grid"], "features": "none"}
    assert cells_of(block) == cells_of(
        {key: value if isinstance(value, list) else [value] for key, value in block.items()}
    )


def test_the_ids_of_cells_never_change():
    """Results are found by these: a coordinate that is added later must leave out its default."""
    plain = Cell(task="asr", corpus="spoken", features="none", decoder="tiny", recipe="default", seed=0)
    full = Cell(
        task="translation", variant="de", corpus="spoken", fold="1", encoder="apc", layer=2, features="discrete",
        codebook=200, codebook_corpus="other", codebook_seed=1, dedup=True, bpe=400, decoder="tiny", recipe="small",
        seed=3,
    )  # fmt: skip
    assert (plain.id, full.id) == ("fdf134e4cbda", "34095d3ac81c")


def test_cells_are_selected_by_what_is_written():
    cells = cells_of(GOOD["grid"])
    assert [c.codebook for c in cells if matches(c, {"codebook": {"100"}})] == [100]
    assert [c.features for c in cells if matches(c, {"codebook": {"none"}})] == ["none", "continuous"]
    assert not [c for c in cells if matches(c, {"task": {"intent"}})]
