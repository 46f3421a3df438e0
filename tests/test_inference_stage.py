"""How long answers take: measured for every cell on the same utterances, and never at the cost of a finished cell."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from decoder_material import WORDS, examples, make_checkpoint, speech_spec
from grid_material import Log, artifacts
from trained_material import recordings, trained

from orchestrator import audio
from orchestrator.decoders import HfDecoderConfig, SpeechLM, answer
from orchestrator.errors import StageError
from orchestrator.execution import do_cell, log_file
from orchestrator.grid import Grid
from orchestrator.inference.pipeline import Pipeline
from orchestrator.results import is_finished
from orchestrator.stage import walk
from orchestrator.stages.inference import Inference, _answer
from orchestrator.store import Store

pytestmark = pytest.mark.slow

SIDE = {"batch", "first_token_seconds", "first_token_seconds_p90", "seconds", "rtf", "parts"}


@pytest.fixture(scope="module")
def grid(spoken) -> Grid:
    return trained(spoken)


@pytest.fixture
def mine(grid: Grid, tmp_path: Path) -> Store:
    """A copy of the finished store, in which nothing was measured yet."""
    root = Path(shutil.copytree(grid.store.root, tmp_path / "state"))
    shutil.rmtree(root / "store" / "inference")
    return Store(root)


def measured(grid: Grid, store: Store) -> dict[str, dict]:
    stages = {c.id: Inference.of(grid.graph.scorings[c]) for c in grid.cells}
    return {name: store.open(stage).json("inference.json") for name, stage in stages.items()}


def test_every_cell_is_measured_by_its_own_work(grid: Grid):
    for name, found in measured(grid, grid.store).items():
        assert (found["device"], found["threads"], found["trials_at_once"]) == ("cpu", 1, 1), name
        assert found["utterances"] == 16 and found["audio_seconds"] > 5
        single, batched = found["single"], found["batched"]
        assert set(single) == set(batched) == SIDE
        assert single["batch"] == 1 < batched["batch"] <= 16
        for side in (single, batched):
            assert 0 < side["first_token_seconds"] <= side["first_token_seconds_p90"] <= side["seconds"]
            assert side["rtf"] == pytest.approx(side["seconds"] / found["audio_seconds"], abs=1e-3)
            assert set(side["parts"]) == {"encoder", "tokens", "decoder"}
            assert sum(side["parts"].values()) == pytest.approx(side["seconds"], abs=1e-4)


def test_a_cell_that_hears_nothing_spends_nothing_on_hearing(grid: Grid):
    found = measured(grid, grid.store)
    parts = {c.features: found[c.id]["single"]["parts"] for c in grid.cells if c.encoder in (None, "apc")}
    assert parts["none"]["encoder"] < 0.01 * parts["continuous"]["encoder"]
    assert parts["discrete"]["encoder"] > 0 < parts["discrete"]["tokens"]


def test_all_cells_of_a_task_are_measured_on_the_same_test_utterances(grid: Grid):
    by_task: dict[str, set[float]] = {}
    for cell in grid.cells:
        by_task.setdefault(cell.task, set()).add(measured(grid, grid.store)[cell.id]["audio_seconds"])
    assert all(len(seconds) == 1 for seconds in by_task.values()) and len(by_task) == 2
    table, heard = grid.graph.corpora["spoken"].table, recordings(grid)
    tests = set(table.loc[~table["split"].isin(["train", "dev"]), "id"])
    (stage,) = {Inference.of(grid.graph.scorings[c]) for c in grid.cells[:1]}
    chosen = sorted((n for n in tests if table.set_index("id").loc[n, "keyword"]), key=stage._number)[:16]
    seconds = sum(len(audio.read(*heard[name].part)) for name in chosen) / audio.SAMPLE_RATE
    assert by_task["keyword"] == {round(seconds, 3)}


def test_what_is_measured_is_not_what_is_scored(grid: Grid):
    """Neither its own fields nor those that runs set change a scoring, and nothing that a cell needs is a measurement."""
    for scoring in grid.graph.scorings.values():
        assert dataclasses.replace(scoring, recordings=None).identity == scoring.identity
        assert not any(isinstance(stage, Inference) for stage in walk(scoring))
        stage = Inference.of(scoring)
        assert dataclasses.replace(stage, trials_at_once=7).identity == stage.identity
        assert Inference.of(dataclasses.replace(scoring, recordings=None)) is None


def fail(stage: Inference, at: object) -> None:
    raise StageError("the clock stands still")


def test_a_measurement_that_fails_leaves_the_cell_finished_and_says_why(grid: Grid, mine: Store, monkeypatch):
    cell = next(c for c in grid.cells if c.features == "discrete")
    scoring = grid.graph.scorings[cell]
    stage, before = Inference.of(scoring), artifacts(mine)
    with monkeypatch.context() as at:
        at.setattr(Inference, "build", fail)
        do_cell(mine, cell, scoring)
    assert is_finished(mine, scoring) and not mine.has(stage) and artifacts(mine) == before
    assert "stands still" in mine.failure(stage)["reason"] and log_file(mine, stage).is_file()
    do_cell(mine, cell, scoring, trials_at_once=3)
    assert mine.open(stage).json("inference.json")["trials_at_once"] == 3 and mine.failure(stage) is None


def test_a_launch_says_what_it_could_not_measure_and_the_next_one_tries_again(grid: Grid, mine: Store, monkeypatch):
    again = Grid(grid.space, mine.root, {"features": ["none"]})
    again.graph.analyses.clear()

    def launch() -> str:
        log = Log()
        assert again.run(local=True, monitor=log, track=False).counts()["ok"] == 1
        return log.text

    with monkeypatch.context() as at:
        at.setattr(Inference, "build", fail)
        said = launch()
    assert "could not be measured for 1 finished cells" in said and "the clock stands still (log: " in said
    said = launch()
    assert "could not be measured" not in said and "1 cells to run" in said
    assert "0 cells to run, 1 finished before" in launch()


def test_a_cell_that_hears_nothing_is_measured_though_nobody_has_made_the_recordings(grid: Grid, mine: Store):
    """It is the first to run, side by side with what makes them for the others."""
    scoring = next(grid.graph.scorings[c] for c in grid.cells if c.features == "none")
    shutil.rmtree(mine.folder(scoring.recordings))
    do_cell(mine, next(c for c in grid.cells if c.features == "none"), scoring)
    assert mine.failure(Inference.of(scoring)) is None and mine.has(Inference.of(scoring))


def test_the_first_token_comes_before_the_answer_and_after_the_encoder(grid: Grid):
    from orchestrator import inference

    cell = next(c for c in grid.cells if c.task == "asr" and c.features == "continuous")
    pipeline: Pipeline = inference.load(cell.id, grid.store.root)
    waves = [audio.read(*recording.part) for recording in list(recordings(grid).values())[:5]]
    run = _answer(pipeline, waves)
    assert len(run["first_token_seconds"]) == run["batch"] == 5
    for seconds in run["first_token_seconds"]:
        assert run["encoder"] + run["tokens"] < seconds < run["seconds"]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("labels", [None, WORDS])
def test_the_beginning_of_every_answer_is_told_once(tmp_path, beams: int, labels):
    torch.manual_seed(0)
    spec = HfDecoderConfig(checkpoint=str(make_checkpoint(tmp_path / "lm"))).spec()
    model = SpeechLM.create(spec, speech_spec("discrete"), ("Write.\n{speech}",), [], 0).eval()
    asked, told = examples(7, 1, "discrete"), []
    answers = answer(model, asked, labels, 5, batch_tokens=120, beams=beams, begun=told.append)
    assert answers == answer(model, asked, labels, 5, batch_tokens=120, beams=beams)
    assert sorted(np.concatenate(told).tolist()) == list(range(7)) and len(told) > 1
