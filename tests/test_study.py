"""The study's spaces over real speech in the official layouts, and their twins: planned, run to a full matrix."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import labelled_layouts
import official_layouts as layouts
import pytest
import yaml
from grid_material import Log
from official_layouts import needs_speech
from rich.console import Console

from orchestrator import space_file
from orchestrator.grid import Grid
from search_spaces.tiny_models import make_all

TWINS = sorted(name for name in space_file.available() if name.endswith("-tiny"))
STUDY = sorted(
    name
    for name in space_file.available()
    if f"{name}-tiny" in TWINS or name in ("main_table_llama", "main_table_tuned")
)


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """The folder in which the twins look for their models, made by the project's own script."""
    folder = tmp_path_factory.mktemp("models")
    make_all(folder / "tiny-models")
    return folder


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> Mapping[str, str]:
    """Folders in the official layouts, made from real speech, by the environment variable that names each."""
    root = tmp_path_factory.mktemp("published")
    rows = layouts.librispeech(root / "LibriSpeech", training=20, testing=12)
    words = sorted({word for text in rows["text"] for word in text.upper().split()})
    # A user's lexicon, one letter a phoneme: it stands in for CMUdict, which can't be shipped.
    (root / "lexicon.txt").write_text("".join(f"{w}  {' '.join(w.replace(chr(39), ''))}\n" for w in words[:-1]))
    layouts.gigaspeech(root / "GigaSpeech")
    layouts.covost2(root / "covost", count=8)
    labelled_layouts.slurp(root / "slurp")
    labelled_layouts.speech_commands(root / "speech_commands")
    labelled_layouts.speech_commands_test_set(root / "speech_commands_test")
    labelled_layouts.iemocap(root / "IEMOCAP")
    return {
        "LIBRISPEECH": str(root / "LibriSpeech"),
        "LEXICON": str(root / "lexicon.txt"),
        "GIGASPEECH": str(root / "GigaSpeech"),
        "COMMON_VOICE": str(root / "covost" / "en"),
        "COVOST2": str(root / "covost" / "translations"),
        "SLURP": str(root / "slurp"),
        "SPEECH_COMMANDS": str(root / "speech_commands"),
        "SPEECH_COMMANDS_TEST": str(root / "speech_commands_test"),
        "IEMOCAP": str(root / "IEMOCAP"),
    }


def cut_down(folder: Path, name: str, *more: str) -> Path:
    """A file that extends a space of the study with copies of its corpora that may be incomplete."""
    corpora = space_file.load(name).corpora
    parts = {corpus: model.model_dump(mode="json") | {"partial": True} for corpus, model in corpora.items()}
    for one in ("librispeech", "librispeech_phonemes"):
        parts[one] |= {"train": ["train-clean-100"], "dev": ["dev-clean"]}
    parts["gigaspeech"] |= {"subset": "XS"}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"extends": [name, *more], "name": name, "corpora": parts}), "utf-8")
    return path


@pytest.mark.parametrize("name", STUDY)
def test_a_space_of_the_study_and_its_twin_are_the_same_grid(name: str):
    cells = space_file.load(name).cells()
    assert cells
    if f"{name}-tiny" not in TWINS:
        return
    twin = space_file.load(f"{name}-tiny").cells()
    kinds = {(c.task, c.features, c.encoder, c.decoder, c.init) for c in cells}
    assert {(c.task, c.features, c.encoder, c.decoder, c.init) for c in twin} == kinds


@needs_speech
@pytest.mark.slow
def test_the_main_table_runs_through_every_reader_on_real_speech(published, models, tmp_path, monkeypatch):
    """All six tasks on the real readers, with random models: smoke values, of which none means anything."""
    for variable, folder in published.items():
        monkeypatch.setenv(variable, folder)
    monkeypatch.chdir(models)
    grid = Grid(cut_down(tmp_path, "main_table", "_tiny"), tmp_path / "state")
    matrix = grid.run(local=True, monitor=Log(), track=False)
    assert matrix.counts() == {"ok": len(matrix.cells), "failed": 0, "missing": 0, "stale": 0}
    assert {cell["task"] for cell in matrix.cells} == {"asr", "phoneme", "translation", "keyword", "intent", "emotion"}
    tests = {(c["corpus"], r["test_set"]) for c in matrix.cells for r in c["results"]}
    assert {("librispeech", "test-other"), ("gigaspeech", "test"), ("slurp", "test"), ("iemocap", "test")} <= tests
    beside = [c for c in matrix.cells if c["reference"]]
    assert beside == [c for c in matrix.cells if c["features"] == "continuous"], (
        "a codebook of 16 is not the published one"
    )
    assert "[6.43 S]" in matrix.to_markdown(), "the figure of test-other"


@needs_speech
@pytest.mark.slow
@pytest.mark.parametrize("name", STUDY)
def test_a_space_of_the_study_is_planned_over_the_official_layouts_without_any_checkpoint(
    name, published, tmp_path, monkeypatch
):
    """Nothing is downloaded: what the checkpoints alone could tell is said to be unknown."""
    for variable, folder in published.items():
        monkeypatch.setenv(variable, folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    grid = Grid(cut_down(tmp_path, name), tmp_path / "state")
    plan = grid.plan()
    assert plan.cells == len(grid.cells) > 0 and plan.finished == 0
    assert {line.stage for line in plan.lines} >= {"features", "units", "training", "scoring"}
    console = Console(file=io.StringIO(), width=200)
    console.print(plan.render())
    told = console.file.getvalue()
    assert "facebook/hubert-large-ll60k" in told or "wavlm" in told
    assert "80 GB GPU" in told
    assert not list((tmp_path / "state").glob("store/*/*/artifact.json")), "a plan builds nothing"


@pytest.mark.slow
def test_a_twin_runs_on_ray_to_a_full_matrix_with_its_start_built_once(models, tmp_path, monkeypatch):
    monkeypatch.chdir(models)
    grid = Grid("slurp_pretraining-tiny", tmp_path / "state")
    matrix = grid.run(monitor=Log(), track=False)
    assert matrix.counts()["ok"] == len(matrix.cells) == 10
    started = [cell for cell in matrix.cells if cell["init"] == "asr"]
    assert len(started) == 5 and all(cell["cost"]["init_steps"] > 0 for cell in started)


def test_a_twin_without_its_models_says_how_to_make_them(tmp_path, monkeypatch):
    from orchestrator.errors import UserError

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"python -m search_spaces\.tiny_models"):
        Grid("main_table-tiny", tmp_path / "state").index()
