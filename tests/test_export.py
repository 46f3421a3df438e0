"""A trained cell as a folder: it answers as it was scored without its store, and notices every byte that was changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_material import speech
from huggingface_hub import ModelCard
from safetensors import safe_open
from tiny_models import ENCODERS, make_encoder
from trained_material import CELLS, asked, recordings, trained

from orchestrator import audio, inference
from orchestrator.encoders.hf import HfConfig
from orchestrator.errors import UserError
from orchestrator.grid import Grid
from orchestrator.inference import exporting
from orchestrator.inference.listening import look
from orchestrator.inference.package import CARD, INDEX, checksum_of, open_export
from orchestrator.inference.pipeline import Pipeline
from orchestrator.store import checksum

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def grid(spoken) -> Grid:
    return trained(spoken)


@pytest.fixture(scope="module")
def heard(grid):
    return recordings(grid)


@pytest.fixture(scope="module")
def exported(grid: Grid, tmp_path_factory) -> Path:
    """The package of a cell with all parts: an encoder that was trained here, a codebook, BPE. Tests only read it."""
    return inference.export(
        cell(grid, bpe=24, task="keyword"), tmp_path_factory.mktemp("package") / "cell", grid.store.root
    )


@pytest.fixture
def package(exported: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(exported, tmp_path / "package"))


def cell(grid: Grid, **wanted: object) -> str:
    return next(c.id for c in grid.cells if all(getattr(c, key) == value for key, value in wanted.items()))


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# It answers as it was scored


@pytest.mark.parametrize("number", range(CELLS))
def test_an_export_answers_as_it_was_scored_wherever_it_lies_and_without_a_store(
    grid: Grid, heard, number: int, tmp_path: Path, monkeypatch
):
    state = grid.store.root
    one = grid.cells[number]
    folder = inference.export(one.id, tmp_path / "made", state, with_base=one.decoder in ("lora", "rows"))
    table, before = asked(inference.find(one.id, state)), inference.load(one.id, state)
    moved = shutil.move(folder, tmp_path / "elsewhere")
    # Neither the store nor the models of the space are where they were.
    hidden = [path.rename(path.with_name(f"hidden-{path.name}")) for path in (state, state.parent / "models")]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKENGRID_STORE", str(tmp_path / "no store"))
    try:
        pipeline = inference.load(moved)
        assert pipeline.trained.cell == one and str(tmp_path) not in (Path(moved) / INDEX).read_text()
        names = table["id"].tolist()
        paths = [state.with_name(f"hidden-{state.name}") / heard[name].path.relative_to(state) for name in names]
        answers = list(pipeline.predict(look(path, pipeline.trained.limits) for path in paths))
        assert_same(pipeline, before, audio.read(paths[0]))
    finally:
        for path in hidden:
            path.rename(path.with_name(path.name.removeprefix("hidden-")))
    assert [a.error for a in answers] == [None] * len(table)
    assert [a.answer for a in answers] == table["answer"].tolist()
    assert not (tmp_path / "no store").exists()


def assert_same(one: Pipeline, other: Pipeline, wave: np.ndarray) -> None:
    """Weight by weight and value by value: answers of a decoder that has learnt little would say little."""
    ours, theirs = (pipeline._model.state_dict() for pipeline in (one, other))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    for values, expected in zip(*(p.tokens(p.encode([wave])) for p in (one, other)), strict=True):
        assert np.array_equal(np.asarray(values), np.asarray(expected))


def test_a_frozen_decoder_is_named_by_its_content_and_taken_from_where_the_user_says(grid: Grid, heard, tmp_path):
    one, models = cell(grid, decoder="lora"), grid.store.root.parent / "models"
    folder = inference.export(one, tmp_path / "lora", grid.store.root)
    assert not (folder / "base").exists()
    with pytest.raises(UserError, match=r"refers to the checkpoint 'qwen'.*--base, or export again with --with-base"):
        inference.load(folder)
    row = asked(inference.find(one, grid.store.root)).iloc[0]
    path = heard[row["id"]].path
    assert inference.load(folder, base=models / "qwen").read(path) == row["answer"]
    with pytest.raises(UserError, match="have changed"):
        inference.load(folder, base=models / "hubert")


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_layers_of_a_checkpoint_that_are_packed_give_the_same_frames(kind: str, tmp_path: Path):
    spec = HfConfig(checkpoint=str(make_encoder(tmp_path / "whole", kind))).spec(None, None)
    exporting.save_encoder(spec, spec.load(None, deepest=2), tmp_path / "packed")
    waves = [speech(16_000), speech(9_000)]
    whole, packed = (
        spec.load(None).frames(waves, [0, 2]),
        spec.load_from(tmp_path / "packed", deepest=2).frames(waves, [0, 2]),
    )
    for ours, theirs in zip(packed, whole, strict=True):
        assert all(np.array_equal(ours[layer], theirs[layer]) for layer in (0, 2))
    config = json.loads((tmp_path / "packed" / "config.json").read_text())
    assert 2 in (config.get("num_hidden_layers"), config.get("encoder_layers"))


# What is in it


def test_it_holds_safetensors_and_json_alone_and_no_path_of_this_machine(exported: Path, grid: Grid):
    there = files(exported)
    assert {Path(name).suffix for name in there} == {".safetensors", ".json", ".md"}
    assert {name.partition("/")[0] for name in there} == {INDEX, CARD, "model", "encoder", "codebook", "bpe"}
    for name, content in there.items():
        assert str(grid.store.root).encode() not in content and b"/tmp" not in content, name
        if name.endswith(".safetensors"):
            with safe_open(exported / name, "numpy") as file:
                assert file.keys()


def test_the_index_says_what_the_cell_is(exported: Path, grid: Grid):
    index = json.loads((exported / INDEX).read_text())
    one = next(c for c in grid.cells if c.id == index["cell"])
    record = next(r for r in grid.matrix(statistics=True).cells if r["cell"] == one.id)
    assert index["coordinates"] == one.coordinates and index["identity"] == record["identity"]
    assert index["task"]["labels"] and index["task"]["prompt"].endswith("{speech}")
    for ours, theirs in zip(index["scores"], record["results"], strict=True):
        assert ours["metrics"] == theirs["metrics"] and ours["n"] == theirs["n"]
        assert ours["interval"] == theirs["interval"]
    assert index["training"]["steps"] == record["cost"]["steps"]
    counted = (
        grid.graph.corpora["spoken"].table.query("keyword.notna()").groupby("split")["seconds"].agg(["size", "sum"])
    )
    for split, row in counted.iterrows():
        assert index["data"]["splits"][split]["utterances"] == row["size"]
        assert index["data"]["splits"][split]["hours"] == pytest.approx(row["sum"] / 3600, abs=1e-4)


def test_the_model_card_is_one_of_the_hub_and_tells_scores_data_and_licences(exported: Path):
    index, found = json.loads((exported / INDEX).read_text()), ModelCard((exported / CARD).read_text())
    assert found.data.license == "unknown" and found.data.pipeline_tag == "audio-classification"
    assert found.data.library_name == "tokengrid" and "discrete-speech-features" in found.data.tags
    metrics = {result.metric_type: result.metric_value for result in found.data.eval_results}
    assert metrics == pytest.approx(index["scores"][0]["metrics"], abs=1e-6)
    for words in (
        "95 % interval",
        "## Licences",
        "unknown: check",
        "tokengrid predict",
        "Corpus `spoken`",
        "k-means of 12",
    ):
        assert words in found.text


def test_no_part_of_a_card_is_left_open_in_any_cell(grid: Grid, tmp_path: Path):
    for one in {(c.task, c.encoder, c.decoder, c.features): c for c in grid.cells}.values():
        folder = inference.export(one.id, tmp_path / one.id, grid.store.root)
        text = (folder / CARD).read_text()
        assert "None" not in text and "nan" not in text.split("## Scores")[1].split("##")[0]


# What was changed is noticed


def test_one_changed_byte_is_noticed_in_every_file(package: Path):
    for name, content in files(package).items():
        changed = bytearray(content)
        changed[len(changed) // 2] ^= 1
        (package / name).write_bytes(changed)
        if name == CARD:
            open_export(package)  # for people, who may edit it
        else:
            with pytest.raises(UserError, match=f"{Path(name).name}|can't be read"):
                open_export(package)
        (package / name).write_bytes(content)
    open_export(package)


def test_a_file_that_is_missing_is_named_and_nothing_is_deleted(package: Path):
    (package / "bpe" / "bpe.json").unlink()
    before = files(package)
    with pytest.raises(UserError, match=r"bpe/bpe\.json is missing"):
        open_export(package)
    assert files(package) == before


def resealed(package: Path, **changes: object) -> None:
    """Changes the index and gives it a right checksum, as somebody who means harm would."""
    index = json.loads((package / INDEX).read_text()) | changes
    (package / INDEX).write_text(json.dumps(index | {"checksum": checksum_of(index)}))


@pytest.mark.parametrize("outside", ["../secret.json", "/etc/hostname", "model/../../secret.json"])
def test_no_path_leaves_the_folder(package: Path, outside: str):
    (package.parent / "secret.json").write_text("{}")
    index = json.loads((package / INDEX).read_text())
    resealed(package, files=index["files"] | {outside: {"bytes": 2, "xxh3": "0"}})
    with pytest.raises(UserError, match="is outside the folder"):
        open_export(package)


def test_a_link_that_leaves_the_folder_is_not_followed(package: Path):
    (package.parent / "bpe.json").write_bytes((package / "bpe" / "bpe.json").read_bytes())
    (package / "bpe" / "bpe.json").unlink()
    (package / "bpe" / "bpe.json").symlink_to(package.parent / "bpe.json")
    with pytest.raises(UserError, match="is outside the folder"):
        open_export(package)


@pytest.mark.parametrize("name", ["adapter_config.json", "pytorch_model.bin", "model.py", "deep/model.pkl"])
def test_no_file_is_loaded_that_no_export_has(package: Path, name: str):
    """Such as another model's place, or a pickle: neither where the index lists it with a right checksum, nor beside it."""
    path = package / "encoder" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"base_model_name_or_path": "/somewhere/else"}')
    with pytest.raises(UserError, match=f"encoder/{name} was added"):
        open_export(package)
    index = json.loads((package / INDEX).read_text())
    resealed(package, files=index["files"] | {f"encoder/{name}": {"bytes": 1, "xxh3": checksum(path)}})
    with pytest.raises(UserError, match=f"encoder/{name} is no file of an export"):
        open_export(package)


def test_what_a_file_manager_leaves_in_a_folder_does_no_harm(package: Path):
    (package / "model" / ".DS_Store").write_bytes(b"x")
    (package / "notes.txt").write_text("mine")
    assert open_export(package).scoring


@pytest.mark.parametrize(
    "changes", [{"files": []}, {"files": {"model/model.json": 3}}, {"identity": {}}, {"limits": 1}]
)
def test_an_index_that_is_nonsense_with_a_right_checksum_is_said_to_be(package: Path, changes: dict):
    resealed(package, **changes)
    with pytest.raises(UserError, match="is no description of a cell"):
        open_export(package)


def test_another_format_and_another_configuration_are_refused(package: Path):
    stages = json.loads((package / INDEX).read_text())["stages"]
    resealed(package, format=99)
    with pytest.raises(UserError, match="has format 99"):
        open_export(package)
    codebook = next(identity for identity, stage in stages.items() if stage["stage"] == "codebook")
    stages[codebook]["config"]["k"] = 13
    resealed(package, format=1, stages=stages)
    with pytest.raises(UserError, match="another version of tokengrid"):
        open_export(package)
    resealed(package, stages={})
    with pytest.raises(UserError, match="lacks the scoring"):
        open_export(package)


# Where it is written


def test_an_older_export_of_the_same_cell_is_replaced_and_anything_else_is_kept(
    grid: Grid, package: Path, tmp_path: Path, monkeypatch
):
    one, other = cell(grid, bpe=24, task="keyword"), cell(grid, features="none")
    (package / CARD).write_text("edited")
    assert inference.export(one, package, grid.store.root) == package
    assert (package / CARD).read_text() != "edited" and Pipeline(open_export(package)).hears
    with pytest.raises(UserError, match=f"is an export of the cell {one}, not of {other}"):
        inference.export(other, package, grid.store.root)
    (package / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"files beside its export, such as mine\.txt"):
        inference.export(one, package, grid.store.root)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("a")
    with pytest.raises(UserError, match="holds 1 files and is no export"):
        inference.export(one, tmp_path / "full", grid.store.root)
    (tmp_path / "empty").mkdir()
    with monkeypatch.context() as at:
        at.chdir(tmp_path / "empty")
        with pytest.raises(UserError, match=r"you are in .*empty.*: name a folder within it"):
            inference.export(one, ".", grid.store.root)
    assert (inference.export(one, tmp_path / "empty", grid.store.root) / INDEX).is_file()


def test_an_export_that_fails_leaves_nothing(grid: Grid, tmp_path: Path, monkeypatch):
    def fail(index: object) -> str:
        raise OSError("no space left")

    monkeypatch.setattr(exporting, "card", fail)
    with pytest.raises(OSError, match="no space"):
        inference.export(cell(grid, features="none"), tmp_path / "new", grid.store.root)
    assert list(tmp_path.iterdir()) == []
