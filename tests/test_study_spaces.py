"""What the spaces of the study need: files that extend others, families of recipes, references, starts, centroids."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from grid_material import content

from orchestrator import space_file
from orchestrator.cell import Cell
from orchestrator.errors import UserError
from orchestrator.matrix import Matrix
from orchestrator.results import records
from orchestrator.tuning import with_choices

CONTINUOUS = {"kind": "continuous", "downsample": 4}
DISCRETE = {"kind": "discrete", "codebook": [20, 40], "bpe": ["none", 80]}


def parsed(**changes: Any):
    return space_file.parse({**content(**changes), "name": "study"})


def write(folder: Path, name: str, body: dict[str, Any]) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(body), "utf-8")
    return path


def test_a_twin_is_the_same_grid_with_other_definitions_and_values(tmp_path: Path):
    large = content(task="keyword", features=[CONTINUOUS, DISCRETE, "none"], layer=[1, 1], variant=None)
    large["corpora"]["spoken"] = {"reader": "manifest", "path": "table.csv"}
    figures = [
        {"cells": {"features": "discrete", "codebook": k, "bpe": "none"}, "metric": "accuracy", "value": 0.5}
        for k in (20, 40)
    ]
    write(tmp_path, "large", large | {"reference": {"source": "paper", "figures": figures}, "name": "another"})
    small = {"corpora": {"spoken": {"reader": "synthetic", "preset": "smoke"}}}
    twin = write(tmp_path, "twin", small | {"extends": "large.yaml", "values": {"codebook": {40: 8}, "bpe": {80: 90}}})
    loaded = space_file.load(twin)
    assert loaded.name == "twin" and loaded.corpora["spoken"].reader == "synthetic"
    assert [(c.codebook, c.bpe) for c in loaded.cells()] == [
        (None, None),
        (20, None),
        (20, 90),
        (8, None),
        (8, 90),
        (None, None),
    ]
    marked = [c.codebook for c in loaded.cells() if loaded.reference.of(c)]
    assert marked == [20], "a published figure stays with the codebook that it is of"
    own = space_file.load(write(tmp_path, "alone", {**large, "corpora": small["corpora"]}))
    assert len(own.cells()) == len(loaded.cells())


def test_two_values_that_become_one_make_one_cell(tmp_path: Path):
    write(tmp_path, "large", content(task="keyword", features=[CONTINUOUS], seed=[0, 1, 2]))
    twin = write(tmp_path, "twin", {"extends": "large.yaml", "values": {"seed": {1: 0, 2: 5}}})
    assert [cell.seed for cell in space_file.load(twin).cells()] == [0, 5]


def test_values_that_the_extended_space_lacks_are_named(tmp_path: Path):
    write(tmp_path, "large", content())
    twin = write(tmp_path, "twin", {"extends": "large.yaml", "values": {"codebook": {99: 8}}})
    with pytest.raises(UserError, match=r"values\.codebook\.99: the space that is extended has no codebook 99"):
        space_file.load(twin)
    twin = write(tmp_path, "twin", {"extends": "large.yaml", "values": ["codebook"]})
    with pytest.raises(UserError, match="values: expected a mapping"):
        space_file.load(twin)
    write(tmp_path, "large", {"extends": "twin.yaml"})
    with pytest.raises(UserError, match="extends itself"):
        space_file.load(write(tmp_path, "twin", {"extends": "large.yaml"}))


def test_paths_start_from_the_file_that_says_them_and_variables_are_filled_in(tmp_path: Path, monkeypatch):
    (tmp_path / "below").mkdir()
    large = content()
    large["corpora"] = {
        "spoken": {"reader": "manifest", "path": "table.csv", "root": "${SPEECH_OF_TESTS}/wav"},
        "other": {"reader": "manifest", "path": "${NOT_SET_IN_TESTS}/table.csv"},
    }
    write(tmp_path / "below", "large", large)
    monkeypatch.setenv("SPEECH_OF_TESTS", "/speech")
    monkeypatch.delenv("NOT_SET_IN_TESTS", raising=False)
    corpora = space_file.load(write(tmp_path, "twin", {"extends": "below/large.yaml"})).corpora
    assert corpora["spoken"].path == tmp_path / "below" / "table.csv"
    assert corpora["spoken"].root == Path("/speech/wav")
    assert space_file.unset_variables(corpora["spoken"]) == []
    assert space_file.unset_variables(corpora["other"]) == ["NOT_SET_IN_TESTS"]
    monkeypatch.setenv("NOT_SET_IN_TESTS", "")
    other = space_file.load(tmp_path / "twin.yaml").corpora["other"]
    assert space_file.unset_variables(other) == ["NOT_SET_IN_TESTS"], "an empty variable says nothing"
    monkeypatch.setenv("NOT_SET_IN_TESTS", "here")
    monkeypatch.chdir(tmp_path)
    assert space_file.load(tmp_path / "twin.yaml").corpora["other"].path == tmp_path / "here" / "table.csv"


def test_a_variable_that_is_not_set_is_told_only_where_a_cell_needs_it(tmp_path: Path, monkeypatch):
    from orchestrator.grid import Grid

    monkeypatch.delenv("NOT_SET_IN_TESTS", raising=False)
    body = content(corpus=["spoken", "mine"], features=["none"])
    body["corpora"]["mine"] = {"reader": "manifest", "path": "${NOT_SET_IN_TESTS}/table.csv"}
    file = write(tmp_path, "both", body | {"setup": "say where your table is"})
    with pytest.raises(UserError, match=r"(?s)'mine' wants the environment variable NOT_SET_IN_TESTS.*say where your"):
        Grid(file, tmp_path / "store").plan()
    assert Grid(file, tmp_path / "store", {"corpus": ["spoken"]}).plan().cells == 2


def test_a_family_of_recipes_is_a_cell_for_each_learning_rate():
    body = content(recipe=["small", "rates"], features=["none"], task="keyword")
    body["recipes"]["rates"] = {"batch": 16, "learning_rate": [1e-3, 3e-2]}
    space = space_file.parse({**body, "name": "rates"})
    assert [cell.recipe for cell in space.cells()] == ["small", "rates@0.001", "rates@0.03"]
    assert [space.recipe(cell.recipe).learning_rate for cell in space.cells()] == [1e-3, 1e-3, 3e-2]
    assert len({cell.id for cell in space.cells()}) == 3
    tuned = [cell.recipe for cell in parsed(recipe="tuned", features=["none"], task="keyword").cells()]
    assert tuned == ["tuned@1e-05", "tuned@3e-05", "tuned@0.0001", "tuned@0.0003"]


def _record(recipe: str, dev: float | None, features: str = "continuous", **more: Any) -> dict[str, Any]:
    cell = Cell(task="asr", corpus="c", features=features, decoder="tiny", recipe=recipe, seed=more.pop("seed", 0))
    test = {"test_set": "test", "split": "test", "n": 9, "metrics": {"wer": 1 - (dev or 0)}, "baseline": 1.0}
    return {
        "cell": cell.id,
        **cell.coordinates,
        "status": "missing" if dev is None else "ok",
        "reason": None,
        "stopped": "plateau",
        "primary": "wer",
        "dev": None if dev is None else {"wer": dev},
        "results": [] if dev is None else [test],
        "metrics": test["metrics"],
        "baseline": 1.0,
        "cost": None,
        **more,
    }


def test_each_arm_takes_the_learning_rate_that_is_best_on_dev_whatever_test_says():
    given = [
        _record("r@0.1", 0.2), _record("r@0.2", 0.1), _record("r@0.3", 0.1),
        _record("r@0.1", 0.3, "discrete"), _record("r@0.2", 0.4, "discrete"), _record("r@0.3", None, "discrete"),
        _record("plain", 0.9, "none"),
    ]  # fmt: skip
    told = with_choices(given)
    assert [one["recipe"] for one in told if (one.get("tuning") or {}).get("chosen")] == ["r@0.2", "r@0.1"]
    assert {(one["features"], one["tuning"]["tried"], one["tuning"]["of"]) for one in told if "tuning" in one} == {
        ("continuous", 3, 3),
        ("discrete", 2, 3),
    }
    by_cell = {one["cell"]: one.get("tuning") for one in told}
    for order in itertools.permutations(given[:4]):
        again = with_choices([*order, *given[4:]])
        assert {one["cell"]: one.get("tuning") for one in again} == by_cell, "the order of cells must not matter"
    layout = Matrix("s", told).layout
    assert [[e.text for e in line] for line in layout.entries][:2] == [["90.0"], ["70.0"]]
    (note,) = [note for note in layout.legend if note.startswith("learning rate chosen on dev")]
    assert "continuous" in note and "0.2 (3 of 3 tried)" in note and "0.1 (2 of 3 tried)" in note


def test_a_lucky_seed_does_not_beat_what_all_seeds_are_known_of():
    """Of the seeds that both have finished, the first recipe is better; the second one's luck was another seed."""
    given = [_record("r@0.1", 0.3, seed=0), _record("r@0.1", 0.5, seed=1), _record("r@0.2", 0.4, seed=0)]
    chosen = {one["recipe"] for one in with_choices(given) if one["tuning"]["chosen"]}
    assert chosen == {"r@0.1"}
    frame = Matrix("s", with_choices(given)).frame()
    assert frame["chosen"].tolist() == [True, True, False], "whoever reads the frame must not choose by test"


def test_a_family_that_is_not_decided_stays_beside_one_that_is():
    told = with_choices([_record("a@0.1", 0.2), _record("b@0.1", None), _record("b@0.2", None)])
    rows = Matrix("s", told).layout.rows
    assert [row.coordinates["recipe"] for row in rows if row.kind == "speech"] == ["a", "b"]


def test_seeds_are_averaged_before_a_learning_rate_is_chosen():
    rates = {"r@0.1": (0.1, 0.9), "r@0.2": (0.4, 0.4)}
    told = with_choices([_record(r, dev, seed=seed) for r, devs in rates.items() for seed, dev in enumerate(devs)])
    assert {one["recipe"] for one in told if one["tuning"]["chosen"]} == {"r@0.2"}


def test_published_figures_stand_beside_ours_with_the_agreement_of_their_order():
    figures = [
        {"cells": {"features": "continuous"}, "metric": "wer", "values": {"test": 0.0456}},
        {"cells": {"features": "discrete"}, "metric": "wer", "value": 0.1, "grade": "P"},
        {"cells": {"features": "none"}, "metric": "wer", "value": [0.5, 0.6]},
        {"cells": {"features": "discrete"}, "metric": "cer", "value": 0.9},
    ]
    space = parsed(task="asr", features=["none"])
    reference = space_file.parse(
        {**content(), "name": "r", "reference": {"source": "paper 1", "figures": figures, "notes": ["so"]}}
    )
    given = [_record("a", 0.2), _record("a", 0.3, "discrete"), _record("a", 0.05, "none")]
    for one in given:
        cell = Cell(**{name: one[name] for name in Cell.__dataclass_fields__})
        one["reference"] = reference.reference.of(cell)
    assert not space.reference and given[1]["reference"][0]["grade"] == "P"
    layout = Matrix("s", given, reference.reference.described).layout
    shown = [line[0].text + line[0].after for line in layout.entries]
    assert shown[:3] == ["80.0 [4.56 S]", "70.0 [10 P]", "95.0 [50 / 60 S]"]
    assert layout.legend[-3:] == [
        "[…] published: paper 1 (grade S: as summarised by a reader of the paper)",
        "so",
        "pairs of rows in the published order: asr 0 of 1",
    ]
    assert "[4.56 S]" in Matrix("s", given, reference.reference.described).to_markdown()
    again = Matrix.from_json(Matrix("s", given, reference.reference.described).to_json())
    assert again.reference == reference.reference.described


def test_an_unfinished_cell_still_shows_what_was_published():
    one = _record("a", None) | {"reference": [{"test_set": None, "metric": "wer", "value": 0.25, "grade": "S"}]}
    entry = Matrix("s", [one]).layout.entries[0][0]
    assert entry.text + entry.after == "missing [25 S]"


def test_centroids_are_read_frame_by_frame_or_de_duplicated_one_a_position():
    arm = {"kind": "centroids", "codebook": 20, "downsample": [2, 4], "dedup": [False, True]}
    cells = parsed(task="keyword", features=[arm]).cells()
    assert [(cell.dedup, cell.downsample) for cell in cells] == [(False, 2), (True, 1), (False, 4)]


def test_a_weighted_sum_of_layers_is_for_continuous_features_alone():
    cells = parsed(task="keyword", layer=[1, "weighted"], features=[CONTINUOUS, DISCRETE | {"bpe": "none"}]).cells()
    assert [(c.features, c.layer) for c in cells] == [
        ("continuous", 1), ("continuous", "weighted"), ("discrete", 1), ("discrete", 1),
    ]  # fmt: skip
    with pytest.raises(UserError, match="'weighted' is for continuous features only"):
        parsed(task="keyword", layer="weighted", features=[DISCRETE])


def test_a_start_is_the_cell_of_the_other_task_with_the_same_coordinates():
    cells = parsed(task="intent", init=["none", "asr", "keyword:wild"], features=[CONTINUOUS], seed=3).cells()
    starts = [cell.start(None) for cell in cells]
    assert starts[0] is None
    assert (starts[1].task, starts[1].recipe, starts[1].init, starts[1].seed) == ("asr", "small", None, 3)
    assert (starts[2].task, starts[2].recipe) == ("keyword", "wild")
    assert starts[1] == parsed(task="asr", features=[CONTINUOUS], seed=3).cells()[0]
    assert "after-asr" in cells[1].label and len({cell.id for cell in cells}) == 3


def test_a_start_names_one_member_of_a_family():
    with pytest.raises(UserError, match=r"no recipe 'tuned' to start from; did you mean .*tuned@1e-05"):
        parsed(task="intent", init="asr:tuned", features=["none"])
    (cell,) = parsed(task="intent", init="asr:tuned@3e-05", features=["none"]).cells()
    assert cell.start(None).recipe == "tuned@3e-05"
    body = content()
    body["recipes"]["small@2"] = {}
    with pytest.raises(UserError, match="a recipe's name has no '@'"):
        space_file.parse({**body, "name": "x"})


def test_a_checkpoint_in_a_variable_that_is_not_set_is_told(tmp_path, monkeypatch):
    from orchestrator.grid import Grid

    monkeypatch.delenv("NOT_SET_IN_TESTS", raising=False)
    body = content(encoder="mine", features=[CONTINUOUS])
    body["encoders"]["mine"] = {"kind": "hf", "checkpoint": "${NOT_SET_IN_TESTS}/hubert"}
    with pytest.raises(UserError, match="wants the environment variable NOT_SET_IN_TESTS to be set"):
        Grid(write(tmp_path, "mine", body), tmp_path / "store").plan()


def test_ids_of_cells_that_use_nothing_new_are_what_they_were():
    """Ids name results in stores and in MLflow for years."""
    cell = Cell(task="asr", corpus="spoken", features="none", decoder="tiny", recipe="sentences", seed=0)
    assert cell.id == copy.deepcopy(cell).id == "4585d851a848"


def test_records_know_their_published_figures(tmp_path: Path):
    from orchestrator.graph import resolve
    from orchestrator.store import Store

    body = content(task="keyword", features=["none", CONTINUOUS])
    figure = {"cells": {"features": "continuous"}, "metric": "accuracy", "value": 0.95}
    space = space_file.parse({**body, "name": "x", "reference": {"source": "p", "figures": [figure]}})
    store = Store(tmp_path)
    found = records(resolve(space, store), store)
    assert [len(one["reference"]) for one in found] == [0, 1] and found[1]["reference"][0]["value"] == 0.95
