"""Folds of emotion corpora, their settings, and published corpora through a whole grid."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
from grid_material import Log
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_layouts import reader, real

from orchestrator.grid import Grid
from orchestrator.space_file import parse
from tasks.corpora import (
    folds,
    ravdess,
)


@real
def test_iemocap_has_who_speaks_and_what_is_said(made):
    table = reader("iemocap", made("iemocap")).table()
    assert set(table["emotion"]) == {"angry", "happy", "neutral", "sad"} and len(table) == 48
    assert {row.fold: row.split for row in table.itertuples()} == {
        "Session1": "train",
        "Session2": "train",
        "Session3": "train",
        "Session4": "dev",
        "Session5": "test",
    }
    # Every dialogue here is named Ses0nF, whoever speaks in it.
    assert table["id"].str.match(r"Ses0\dF_").all() and set(table["speaker"]) & {"Ses01M", "Ses02M", "Ses03M"}
    assert table["speaker"].nunique() == 8 and table["text"].str.fullmatch(r"Das ist Satz \d+\.").all()


@real
def test_iemocap_settings_say_which_utterances_are_used(made):
    folder = made("iemocap")
    merged, apart = (reader("iemocap", folder, merge_excited=merge).table() for merge in (True, False))
    assert 0 < (apart["emotion"] == "happy").sum() < (merged["emotion"] == "happy").sum() == 12
    everything = reader("iemocap", folder, others=True).table()
    assert len(everything) == 84 and everything["emotion"].isna().sum() == 36 and everything["text"].notna().all()
    styles = [set(reader("iemocap", folder, style=style).table()["id"]) for style in ("improvised", "scripted")]
    assert not styles[0] & styles[1] and styles[0] | styles[1] == set(merged["id"])
    assert all("impro" in name for name in styles[0])


@real
def test_ravdess_passes_over_songs_and_merges_calm_when_told(copied, caplog):
    folder = copied("ravdess")
    spoken = reader("ravdess", folder).table()
    assert set(spoken["emotion"]) == set(ravdess.EMOTIONS) - {"surprised"}
    merged = reader("ravdess", folder, merge_calm=True).table()
    assert (merged["emotion"] == "neutral").sum() == spoken["emotion"].isin(["neutral", "calm"]).sum()
    one = next((folder / "Actor_08").glob("*.wav"))
    shutil.copy(one, one.with_name(one.name.replace("03-01-", "03-02-")))
    with caplog.at_level(logging.WARNING):
        assert len(reader("ravdess", folder).table()) == len(spoken)
    assert "1 songs in Actor_08 are passed over" in caplog.text


def test_the_whole_of_ravdess_is_accepted_and_its_folds_have_men_and_women(tmp_path):
    """The names of all 1,440 files, without audio: a table is made from names alone."""
    for actor in ravdess.ACTORS:
        (tmp_path / f"Actor_{actor}").mkdir()
        for emotion in range(1, 9):
            for intensity in (1, 2) if emotion > 1 else (1,):
                for last in ("01-01", "01-02", "02-01", "02-02"):
                    (tmp_path / f"Actor_{actor}" / f"03-01-{emotion:02}-{intensity:02}-{last}-{actor}.wav").touch()
    table = reader("ravdess", tmp_path, partial=False).table()
    assert len(table) == 1440 and Counter(table["emotion"])["neutral"] == 96 and set(table["fold"]) == set("12345")
    for _, fold in table.groupby("fold"):
        men = {speaker for speaker in fold["speaker"] if int(speaker) % 2}
        assert 2 <= len(men) <= 3 and 2 <= fold["speaker"].nunique() - len(men) <= 3
    other = reader("ravdess", tmp_path, partial=False, fold_seed=1).table()
    assert not other["fold"].equals(table["fold"])


@settings(max_examples=40, deadline=None)
@given(st.sets(st.text(min_size=1), min_size=5), st.integers(0, 9), st.integers(2, 5), st.randoms())
def test_speakers_are_dealt_evenly_whatever_their_order(speakers, seed, count, random):
    dealt = folds.dealt(sorted(speakers), folds=count, seed=seed)
    sizes = Counter(dealt.values())
    assert set(dealt) == speakers and len(sizes) == count and max(sizes.values()) - min(sizes.values()) <= 1
    assert folds.dealt(random.sample(sorted(speakers), len(speakers)), folds=count, seed=seed) == dealt


def whole_grid(store: Path, corpus: dict, **block: object) -> Grid:
    """Two cells on a corpus: log-mels, a small decoder."""
    space = parse(
        {
            "name": "official",
            "corpora": {"official": corpus},
            "decoders": {"small": {"kind": "tiny", "hidden": 16, "layers": 1, "heads": 1, "kv_heads": 1}},
            "recipes": {"short": {"batch": 16, "learning_rate": 3e-3, "warmup_steps": 2, "max_epochs": 2}},
            "encoders": {},
            "sample": {"frames": 3000},
            "grid": [
                {"corpus": "official", "encoder": "logmel", "layer": 0, "decoder": "small", "recipe": "short"}
                | {"features": [{"kind": "continuous", "downsample": 4}, "none"], **block}
            ],
        }
    )
    grid = Grid(space, store)
    grid.run(local=True, monitor=Log(), track=False)
    return grid


@real
def test_a_fold_of_iemocap_runs_through_a_grid_and_names_itself_in_the_result(made, tmp_path):
    corpus = {"reader": "iemocap", "path": str(made("iemocap")), "partial": True}
    grid = whole_grid(tmp_path, corpus, task="emotion", fold="Session4", features="none")
    (record,) = grid.matrix().cells
    assert (record["status"], record["fold"]) == ("ok", "Session4")
    table = reader("iemocap", made("iemocap")).table()
    (cell,) = grid.cells
    answers = pd.read_parquet(grid.store.open(grid.graph.scorings[cell]).file("predictions.parquet"))
    tested = answers[answers["split"] == "test"]
    assert set(tested["id"]) == set(table.loc[table["fold"] == "Session4", "id"])
    assert record["results"][0]["n"] == len(tested)


@real
def test_slurp_runs_through_a_grid_and_both_microphones_have_their_result(made, tmp_path):
    corpus = {"reader": "slurp", "path": str(made("slurp")), "partial": True, "test_by_microphone": True}
    grid = whole_grid(tmp_path, corpus, task="intent")
    records = grid.matrix().cells
    assert len(records) == 2 and {record["status"] for record in records} == {"ok"}
    for record in records:
        assert {result["test_set"]: result["n"] for result in record["results"]} == {"test-headset": 30, "test-far": 30}
        headset, far = record["results"]
        assert headset["metrics"] == far["metrics"]  # The files are the same here.
