"""From a space to the graph: identities come from content, and work from what cells share."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import BINS, quiet
from decoder_material import make_checkpoint
from tiny_models import make_encoder

from orchestrator import local
from orchestrator import space_file as space
from orchestrator.errors import UserError
from orchestrator.execution import todo
from orchestrator.graph import Graph, resolve
from orchestrator.stage import walk
from orchestrator.stages.annotations import read_annotations
from orchestrator.stages.features import Features
from orchestrator.stages.units import Units
from orchestrator.store import Store
from tasks import TASKS

# Leaves are content


@dataclass
class Mine:
    """A user's corpus in a folder, twelve noises with a text and a keyword, and spaces over it."""

    folder: Path
    rows: list[dict[str, str]] = field(default_factory=list)

    def make(self) -> Mine:
        (self.folder / "audio").mkdir(parents=True)
        for n in range(12):
            wave = np.random.default_rng(n).normal(0, 0.1, 8000 + 400 * n)
            soundfile.write(self.folder / "audio" / f"u{n}.wav", wave, 16_000)
            split = ("train", "train", "dev", "test")[n % 4]
            fold = str(n % 3)
            row = {"id": f"u{n}", "audio": f"audio/u{n}.wav", "split": split, "speaker": f"s{n}", "fold": fold}
            self.rows.append(row | {"text": f"words of number {n}", "keyword": "yes" if n < 6 else "no"})
        return self

    def graph(self, store: Store, **grid: Any) -> Graph:
        pd.DataFrame(self.rows).to_csv(self.folder / "table.csv", index=False)
        content = {
            "name": "mine",
            "corpora": {"mine": {"reader": "manifest", "path": str(self.folder / "table.csv")}},
            "decoders": grid.pop("decoders", {}),
            "encoders": {"spectral": {"kind": "logmel", "bins": BINS}} | grid.pop("encoders", {}),
            "sample": {"frames": 200},
            "grid": {
                "task": ["asr", "keyword"],
                "corpus": "mine",
                "encoder": "spectral",
                "layer": 0,
                "features": ["continuous", {"kind": "discrete", "codebook": 4, "bpe": [None, 6]}, "none"],
            }
            | grid,
        }
        return resolve(space.parse(content), store)


@pytest.fixture
def mine(tmp_path: Path) -> Mine:
    return Mine(tmp_path / "mine").make()


def shared(graph: Graph) -> set[str]:
    return {stage.identity for work in graph.shared() for stage in work.stages}


def trainings(graph: Graph, task: str) -> set[str]:
    return {scoring.training.identity for cell, scoring in graph.scorings.items() if cell.task == task}


def features_of(graph: Graph) -> set[str]:
    return {s.identity for s in walk(*graph.scorings.values()) if isinstance(s, Features)}


def test_editing_a_transcript_trains_its_task_again_and_nothing_else(mine: Mine, store: Store):
    before = mine.graph(store)
    mine.rows[0]["text"] = "mended"
    after = mine.graph(store)
    assert shared(after) == shared(before)
    assert trainings(after, "keyword") == trainings(before, "keyword")
    assert trainings(after, "asr").isdisjoint(trainings(before, "asr"))
    assert [cell.id for cell in after.cells] == [cell.id for cell in before.cells]


def test_a_task_more_and_the_order_of_the_table_change_nothing_shared(mine: Mine, store: Store):
    before = mine.graph(store)
    for row in mine.rows:
        row["emotion"] = "calm" if row["keyword"] == "yes" else "angry"
    mine.rows.reverse()
    after = mine.graph(store, task=["asr", "keyword", "emotion"])
    assert shared(after) == shared(before)
    assert all(trainings(after, task) == trainings(before, task) for task in ("asr", "keyword"))


def test_moving_the_audio_keeps_identities_and_finds_the_files(mine: Mine, store: Store, tmp_path: Path):
    before = mine.graph(store)
    before.put_leaves(store)
    mine.folder = mine.folder.rename(tmp_path / "moved")
    after = mine.graph(store)
    assert [s.identity for s in after.scorings.values()] == [s.identity for s in before.scorings.values()]
    after.put_leaves(store)
    local.prepare(store, todo(after, store, after.cells), quiet())
    paths = pd.read_parquet(store.open(after.corpora["mine"].recordings).file("recordings.parquet"))["audio"]
    assert all(str(tmp_path / "moved") in path for path in paths)
    assert todo(after, store, after.cells).works == []


def test_other_audio_under_the_same_name_is_other_audio(mine: Mine, store: Store):
    before = mine.graph(store)
    soundfile.write(mine.folder / "audio" / "u3.wav", np.random.default_rng(99).normal(0, 0.1, 9200), 16_000)
    after = mine.graph(store)
    assert shared(after).isdisjoint(shared(before))


def test_another_fold_fits_other_codebooks_on_the_same_features(mine: Mine, store: Store):
    graph = mine.graph(store, fold=["0", "1"])
    stages = list(walk(*graph.scorings.values()))
    assert len(features_of(graph)) == 1
    assert len({s.identity for s in stages if s.name == "codebook"}) == 2
    for stage in stages:
        if stage.name == "selection":
            graph.put_leaves(store)
            assert 0 < len(store.open(stage).json("ids.json")) < 12


def test_swapping_the_weights_of_a_checkpoint_changes_what_depends_on_it(mine: Mine, store: Store, tmp_path: Path):
    def features(folder: Path) -> set[str]:
        return features_of(mine.graph(store, encoders={"e": {"kind": "hf", "checkpoint": str(folder)}}, encoder="e"))

    folder = make_encoder(tmp_path / "encoder", seed=0)
    before = features(folder)
    assert features(Path(shutil.copytree(folder, tmp_path / "copy"))) == before
    make_encoder(folder, seed=0)
    assert features(folder) == before
    make_encoder(folder, seed=1)
    swapped = features(folder)
    assert swapped.isdisjoint(before)
    make_encoder(folder, seed=1, normalise=False)
    assert features(folder).isdisjoint(before | swapped)


def test_a_reference_of_punctuation_alone_is_left_out_and_counted(mine: Mine, store: Store, caplog):
    before = mine.graph(store)
    kept = mine.rows.copy()
    for split, text in (("train", "?!"), ("test", "..."), ("test", "\u201c\u2026\u201d")):
        (mine.folder / "audio" / f"v{len(mine.rows)}.wav").write_bytes((mine.folder / "audio" / "u0.wav").read_bytes())
        row = {"id": f"v{len(mine.rows)}", "audio": f"audio/v{len(mine.rows)}.wav", "split": split, "text": text}
        mine.rows.append(kept[0] | row | {"keyword": "no"})
    with caplog.at_level("WARNING"):
        after = mine.graph(store)
    assert "mine: 3 of 'text' say nothing" in caplog.text and "'keyword' say" not in caplog.text
    assert annotations(after, "asr") == annotations(before, "asr")
    assert annotations(after, "keyword") != annotations(before, "keyword")
    after.put_leaves(store)
    for task, count in (("asr", 3), ("keyword", 5)):
        scoring = next(scoring for cell, scoring in after.scorings.items() if cell.task == task)
        rows = read_annotations(store.open(scoring.annotations))
        references = rows.loc[rows["split"] == "test", "target"].tolist()
        assert len(references) == count and TASKS[task].score(references, references)
    mine.rows[:] = [row | {"text": "..."} for row in kept]
    with pytest.raises(UserError, match="needs the column 'text'"):
        mine.graph(store)


def annotations(graph: Graph, task: str) -> set[tuple[str, str]]:
    scorings = (scoring for cell, scoring in graph.scorings.items() if cell.task == task)
    return {(one.annotations.identity, one.training.annotations.identity) for one in scorings}


def test_what_cannot_be_made_is_told_all_at_once(mine: Mine, store: Store):
    with pytest.raises(UserError) as caught:
        mine.graph(store, task=["keyword", "intent", "phoneme"], layer=[0, 3], fold=["0", "9"])
    problems = str(caught.value)
    for part in ("'intent' needs the column 'intent'", "'phoneme' needs", "no layer 3", "expected fold '9'"):
        assert part in problems
    assert len(problems.splitlines()) == 5


def test_decoders_that_can_not_be_had_are_told_before_any_work(
    mine: Mine, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = make_checkpoint(tmp_path / "odd")
    (folder / "model.safetensors").rename(folder / "tf_model.h5")
    decoders = {
        "far": {"kind": "hf", "checkpoint": "nobody/nothing"},
        "odd": {"kind": "hf", "checkpoint": str(folder)},
        "extended": {"kind": "tiny", "speech_tokens": "vocabulary"},
    }
    with pytest.raises(UserError) as caught:
        mine.graph(store, decoders=decoders, decoder=["extended", "far", "odd", "llama3.1-8b"], layer=[0, 3])
    problems = str(caught.value)
    for part in (
        "nobody/nothing",
        "It has tf_model.h5",
        "meta-llama/Llama-3.1-8B",
        "no layer 3",
        "for discrete features",
    ):
        assert part in problems
    assert not list(store.root.glob("store/training/*"))


# Work


def test_work_comes_after_what_it_needs_and_no_stage_twice(mine: Mine, store: Store):
    works = mine.graph(store).shared()
    ids = [work.id for work in works]
    stages = [stage.identity for work in works for stage in work.stages]
    assert len(set(ids)) == len(ids) and len(set(stages)) == len(stages)
    for work in works:
        assert all(ids.index(need) < ids.index(work.id) for need in work.needs)
    [encoder_pass] = [work for work in works if work.is_pass]
    assert {type(stage) for stage in encoder_pass.stages} == {Features, Units}


def test_what_is_left_of_work_is_what_did_not_need_what_failed(mine: Mine, store: Store):
    graph = mine.graph(store, features=["continuous", {"kind": "discrete", "codebook": [4, 5], "bpe": [None, 6]}])
    works = graph.shared()
    [bad] = [w.stages[0] for w in works if w.stages[0].name == "codebook" and w.stages[0].k == 5]
    left = [w.without({bad.identity}) for w in works]
    remaining = [stage for work in left if work for stage in work.stages]
    assert all(bad.identity not in {s.identity for s in walk(stage)} for stage in remaining)
    assert (
        len(remaining) == len([s for w in works for s in w.stages]) - 5
    )  # the codebook, its units, their BPE, and what is told of both
    assert [w.without(set()) for w in works] == works
