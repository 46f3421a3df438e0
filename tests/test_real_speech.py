"""The manifest corpus on real speech: keywords and emotions, every kind of features, broken files named and left out."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pandas as pd
import pytest
from grid_material import Log

from orchestrator.errors import UserError
from orchestrator.grid import Grid
from orchestrator.space import Space
from orchestrator.space_file import parse

DATA = Path(os.environ.get("TOKENGRID_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (DATA / "manifest.tsv").is_file(),
        reason=f"there is no real speech at {DATA}: set TOKENGRID_SHARED_DATA to the folder that has its manifest.tsv",
    ),
]


def space(table: Path, **settings: object) -> Space:
    """Two tasks on two sets of the table, three encoders, every kind of features."""
    corpora = {
        name: {"reader": "manifest", "path": str(table), "root": str(DATA), "dev_from": "train", "dev_share": 0.2}
        | {"columns": {"id": "path", "audio": "path", task: "label", "text": None}, "where": {"set": one}}
        | {"allow_outside": True, **settings}
        for name, task, one in (("words", "keyword", "speech_commands_v2_test"), ("acted", "emotion", "emodb_2s"))
    }

    def block(task: str, corpus: str, encoder: list[str], layer: int, features: list) -> dict:
        return {"task": task, "corpus": corpus, "encoder": encoder, "layer": layer, "features": features} | {
            "decoder": "small",
            "recipe": "short",
        }

    continuous, discrete = {"kind": "continuous", "downsample": 4}, {"kind": "discrete", "codebook": 20, "bpe": 40}
    return parse(
        {
            "name": "real",
            "corpora": corpora,
            "encoders": {"apc": {"kind": "apc", "hidden": 24, "layers": 1, "steps": 6, "batch_seconds": 20}},
            "decoders": {"small": {"kind": "tiny", "hidden": 32, "layers": 1, "intermediate": 64}},
            "recipes": {"short": {"batch": 16, "learning_rate": 3e-3, "warmup_steps": 2, "max_epochs": 3}},
            "sample": {"frames": 5000},
            "grid": [
                block("keyword", "words", ["mfcc"], 0, [continuous, discrete, "none"]),
                block("keyword", "words", ["apc"], 1, [discrete]),
                block("emotion", "acted", ["logmel"], 0, [continuous, discrete, "none"]),
            ],
        }
    )


@pytest.fixture(scope="module")
def launched(tmp_path_factory) -> Grid:
    """The space after its launch."""
    grid = Grid(space(DATA / "manifest.tsv"), tmp_path_factory.mktemp("real"))
    grid.run(local=True, monitor=Log(), track=False)
    return grid


def test_every_cell_on_real_speech_has_its_result(launched):
    records = launched.matrix().cells
    assert len(records) == 7 and {record["status"] for record in records} == {"ok"}
    for record in records:
        (test,) = record["results"]
        assert test["n"] == {"keyword": 96, "emotion": 42}[record["task"]] and test["failed"] == 0
        assert 0 < record["baseline"] < 0.5 and 0 <= record["metrics"]["accuracy"] <= 1
    rates = {(r["encoder"], r["features"]): r["cost"]["tokens_per_second_of_audio"] for r in records}
    assert rates["mfcc", "continuous"] == pytest.approx(12.5) and 0 < rates["apc", "discrete"] < 50
    assert rates[None, "none"] == 0


def test_answers_are_labels_of_the_table_and_speakers_stay_on_one_side(launched):
    table = pd.read_csv(DATA / "manifest.tsv", sep="\t", dtype=str, keep_default_na=False)
    for cell in launched.cells:
        scoring = launched.graph.scorings[cell]
        answers = pd.read_parquet(launched.store.open(scoring).file("predictions.parquet"))
        wanted = table[(table["set"] == {"keyword": "speech_commands_v2_test", "emotion": "emodb_2s"}[cell.task])]
        test = wanted[wanted["split"] == "test"].set_index("path")["label"]
        found = answers[answers["split"] == "test"].set_index("id")
        assert found["reference"].to_dict() == test.to_dict() and set(found["answer"]) <= set(wanted["label"])
        splits = launched.graph.corpora[cell.corpus].table
        sides = splits[splits["speaker"].notna()].groupby("speaker")["split"].nunique()
        assert (sides == 1).all() and set(splits["split"]) == {"train", "dev", "test"}


def test_the_real_speech_is_read_once_and_planned_without_reading_it(launched):
    plan = launched.plan()
    assert (plan.finished, plan.seconds, plan.unknown) == (7, 0, [])
    assert plan.hours["words"] == pytest.approx(192 / 3600, rel=0.05)
    assert plan.hours["acted"] == pytest.approx(84 * 2 / 3600, rel=0.01)


def test_broken_recordings_are_named_and_left_out_and_too_many_end_the_run(launched, tmp_path):
    """A copy of the table with three more rows: not audio, empty, and cut off."""
    rows = [*csv.reader((DATA / "manifest.tsv").open(encoding="utf-8", newline=""), delimiter="\t")]
    words = [row for row in rows[1:] if row[1] == "speech_commands_v2_test" and row[2] == "train"]
    (tmp_path / "noise.wav").write_text("no audio at all")
    (tmp_path / "empty.flac").write_bytes(b"")
    whole = (DATA / words[0][0]).read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    broken = [[str(tmp_path / name), *words[0][1:]] for name in ("noise.wav", "empty.flac", "cut.flac")]
    with (tmp_path / "manifest.tsv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([*rows, *broken])

    grid = Grid(space(tmp_path / "manifest.tsv"), launched.store.root, {"task": ["keyword"], "features": ["none"]})
    left_out = grid.graph.corpora["words"].quarantine
    assert {Path(name).name for name in left_out["audio"]} == {"noise.wav", "empty.flac", "cut.flac"}
    assert left_out["reason"].str.len().min() > 5
    assert len(grid.graph.corpora["words"].table) == 192
    (record,) = grid.run(local=True, monitor=Log(), track=False).cells
    assert record["status"] == "ok" and record["results"][0]["n"] == 96
    assert grid.plan().quarantined["words"] == 3

    with pytest.raises(UserError, match=r"(?s)corpus 'words': .*max_broken"):
        Grid(space(tmp_path / "manifest.tsv", max_broken=0.001), tmp_path / "strict").graph  # noqa: B018


def test_the_other_tasks_run_through_on_real_speech(tmp_path):
    """Read sentences with their words, phonemes and two translations, split by speaker; spoken orders with their intent."""
    columns = {"id": "path", "audio": "path", "phonemes": "phones", "translation_de": "de", "translation_zh": "zh"}
    split = {"by": "speaker", "dev": 0.2, "test": 0.3}
    read = {"columns": columns, "where": {"set": "librispeech", "split": "test"}, "split": split, "max_seconds": 20}
    orders = {"columns": {"id": "path", "audio": "path", "intent": "label", "text": None}, "dev_share": 0.2}
    orders |= {"where": {"set": "barista_intent"}, "dev_from": "train"}
    arms = [{"kind": "discrete", "codebook": 20, "bpe": 40}, {"kind": "centroids", "codebook": 20}, "none"]
    common = {"encoder": "logmel", "layer": 0, "features": arms, "decoder": "small", "recipe": "short"}
    grid = Grid(
        parse(
            {
                "name": "rest",
                "corpora": {
                    name: {"reader": "manifest", "path": str(DATA / "manifest.tsv"), **one}
                    for name, one in (("read", read), ("orders", orders))
                },
                "decoders": {"small": {"kind": "tiny", "hidden": 32, "layers": 1, "intermediate": 64}},
                "recipes": {"short": {"batch": 16, "learning_rate": 3e-3, "warmup_steps": 2, "max_epochs": 2}},
                "sample": {"frames": 5000},
                "grid": [
                    {"task": ["asr", "phoneme"], "corpus": "read", **common},
                    {"task": "translation", "variant": ["de", "zh"], "corpus": "read", **common},
                    {"task": "intent", "corpus": "orders", **common},
                ],
            }
        ),
        tmp_path,
    )
    records = grid.run(local=True, monitor=Log(), track=False).cells
    assert {record["status"] for record in records} == {"ok"} and len(records) == 20
    assert {(r["task"], r["variant"], r["primary"]) for r in records} == {
        ("asr", None, "wer"), ("phoneme", None, "per"), ("intent", None, "accuracy"),
        ("translation", "de", "bleu"), ("translation", "zh", "bleu"),
    }  # fmt: skip
    signatures = {r["variant"]: r["details"]["signature"]["bleu"] for r in records if r["task"] == "translation"}
    assert "tok:zh" in signatures["zh"] and "tok:13a" in signatures["de"]
    assert all(r["details"]["normaliser"] == "basic-1" for r in records if r["task"] == "asr")
