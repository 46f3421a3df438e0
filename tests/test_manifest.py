"""A user's own table becomes a corpus, or every reason why not is said at once."""

import csv
import json
import logging
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.errors import UserError
from tasks.corpora import READERS
from tasks.corpora.corpus import COLUMNS
from tasks.corpora.manifest import ManifestCorpus, SeededSplit
from tasks.corpora.splits import named, seeded

SHARED = Path(os.environ.get("TOKENGRID_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
COUNT = 8


def rows(count=COUNT):
    """Six train, one dev, one test row, in the order of their names."""
    split = ["train"] * (count - 2) + ["dev", "test"]
    return [
        {"audio": f"wav/{i}.wav", "speaker": f"s{i % 4}", "split": split[i], "text": f"say {i}", "keyword": "ab"[i % 2]}
        for i in range(count)
    ]


def write(folder, content, name="m.csv", audio=True):
    path = folder / name
    if audio:
        for row in content:
            if row.get("audio"):
                (folder / row["audio"]).parent.mkdir(exist_ok=True)
                (folder / row["audio"]).touch()
    columns = list(content[0])
    if name.endswith(".parquet"):
        pd.DataFrame(content).to_parquet(path)
    elif name.endswith("l"):
        path.write_text("\n".join(map(json.dumps, content)), "utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, delimiter="\t" if name.endswith(".tsv") else ",")
            writer.writeheader()
            writer.writerows(content)
    return path


def said(corpus):
    """What a manifest that can't be used is told."""
    with pytest.raises(UserError) as error:
        corpus.table()
    return str(error.value)


@pytest.mark.parametrize("name", ["m.csv", "m.tsv", "m.jsonl", "m.parquet"])
def test_every_kind_of_table_reads_alike(tmp_path, name):
    table = ManifestCorpus(path=write(tmp_path, rows(), name)).table()
    assert list(table.columns) == list(COLUMNS)
    assert list(table["id"]) == [f"wav/{i}.wav" for i in range(COUNT)]
    assert list(table["audio"]) == [str(tmp_path / "wav" / f"{i}.wav") for i in range(COUNT)]
    assert list(table["keyword"]) == ["a", "b"] * 4
    assert table["emotion"].tolist() == [None] * COUNT and table["start"].tolist() == [None] * COUNT


def test_columns_are_mapped_selected_and_switched_off(tmp_path):
    content = [
        {"path": r["audio"], "label": r["keyword"], "text": r["text"], "split": r["split"], "n": 1} for r in rows()
    ]
    for row in rows():
        (tmp_path / row["audio"]).parent.mkdir(exist_ok=True)
        (tmp_path / row["audio"]).touch()
    content.append({"path": "gone.wav", "label": "", "text": "", "split": "", "n": 2})
    path = write(tmp_path, content, "m.jsonl")
    columns = {"audio": "path", "keyword": "label", "text": None}
    table = ManifestCorpus(path=path, columns=columns, where={"n": 1, "label": ["a", "b"]}).table()
    assert list(table["keyword"]) == ["a", "b"] * 4 and table["text"].isna().all()


def test_other_languages_are_extra_columns(tmp_path):
    content = [r | {"fr": "bonjour"} for r in rows()]
    table = ManifestCorpus(path=write(tmp_path, content), columns={"translation_fr": "fr"}).table()
    assert list(table.columns) == [*COLUMNS, "translation_fr"] and set(table["translation_fr"]) == {"bonjour"}


def test_segments_have_a_start_and_derive_their_ids_from_it(tmp_path):
    content = [r | {"audio": "wav/all.wav", "start": i * 1.5, "seconds": 1} for i, r in enumerate(rows())]
    table = ManifestCorpus(path=write(tmp_path, content)).table()
    assert list(table["id"][:2]) == ["wav/all.wav@0", "wav/all.wav@1.5"]
    assert table["start"][1] == 1.5 and table["seconds"][1] == 1.0


def test_a_length_without_a_start_is_no_segment(tmp_path):
    table = ManifestCorpus(path=write(tmp_path, [r | {"seconds": 1.0} for r in rows()])).table()
    assert table["seconds"].tolist() == [None] * COUNT


def test_phonemes_may_be_lists_and_quotes_in_tsv_are_characters(tmp_path):
    table = ManifestCorpus(path=write(tmp_path, [r | {"phonemes": ["AH", "B"]} for r in rows()], "m.jsonl")).table()
    assert set(table["phonemes"]) == {"AH B"}
    path = tmp_path / "m.tsv"
    lines = [f'{r["audio"]}\t{r["split"]}\t"so {r["text"]}' for r in rows()]
    path.write_text("\n".join(["audio\tsplit\ttext", *lines]))
    assert ManifestCorpus(path=path).table()["text"][0] == '"so say 0'


def test_blank_cells_are_none_and_counted_and_a_blank_column_is_an_error(tmp_path, caplog):
    content = rows()
    content[0]["keyword"], content[1]["keyword"], content[2]["text"] = " ", "", " "
    path = write(tmp_path, [r | {"emotion": ""} for r in content])
    with caplog.at_level(logging.WARNING):
        table = ManifestCorpus(path=path, columns={"keyword": "keyword", "text": "text"}).table()
    assert table["keyword"].tolist()[:3] == [None, None, "a"] and table["text"][2] is None
    assert "'keyword' (keyword) is blank in 2 of 8 rows" in caplog.text and "'text' (text) is blank in 1" in caplog.text
    assert "'emotion' (emotion) is blank in every row" in said(
        ManifestCorpus(path=path, columns={"emotion": "emotion"})
    )


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("train", ["train", "Training"]),
        ("dev", ["dev", "validation", "VAL", " valid "]),
        ("test", ["test", "eval", "testing"]),
        ("test-other", ["test-other"]),
        ("test_clean", ["test_clean"]),
        (None, ["dev-clean", "tset", ""]),
    ],
)
def test_names_of_splits_are_understood(name, found):
    assert {named(one) for one in found} == {name}


def test_every_split_that_begins_with_test_is_a_test_set_of_its_own(tmp_path):
    content = rows()
    content[0]["split"] = "test-other"
    table = ManifestCorpus(path=write(tmp_path, content)).table()
    assert sorted(set(table["split"])) == ["dev", "test", "test-other", "train"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=3).filter(lambda g: len(set(g)) > 2), st.integers(0, 5), st.randoms())
def test_a_seeded_split_has_every_group_on_one_side_whatever_the_order(groups, seed, random):
    groups = [str(group) for group in groups]
    shares = {"test": 0.2, "dev": 0.1}
    split = dict(zip(groups, seeded(groups, shares, seed), strict=True))
    assert set(split.values()) == {"train", "dev", "test"}
    assert seeded(groups, shares, seed) == [split[group] for group in groups]
    shuffled = random.sample(groups, len(groups))
    assert dict(zip(shuffled, seeded(shuffled, shares, seed), strict=True)) == split


def test_a_seeded_split_keeps_its_shares_and_changes_with_the_seed():
    groups = [f"g{i}" for i in range(1000)]
    one, two = seeded(groups, {"test": 0.2, "dev": 0.1}, 0), seeded(groups, {"test": 0.2, "dev": 0.1}, 1)
    assert (one.count("test"), one.count("dev"), one.count("train")) == (200, 100, 700)
    assert one != two


@pytest.mark.parametrize("by", ["speaker", "utterance"])
def test_a_table_without_splits_is_split_by_a_rule(tmp_path, by):
    content = [{k: v for k, v in r.items() if k != "split"} | {"keyword": "a"} for r in rows(24)]
    rule = SeededSplit(by=by, dev=0.25, test=0.25, seed=3)
    table = ManifestCorpus(path=write(tmp_path, content), split=rule).table()
    assert set(table["split"]) == {"train", "dev", "test"}
    sides = table.groupby("speaker")["split"].nunique()
    assert (sides == 1).all() if by == "speaker" else (sides > 1).any()


def test_dev_is_taken_from_train_by_speaker_and_only_where_there_is_none(tmp_path):
    content = [r | {"split": "train" if r["split"] == "dev" else r["split"], "keyword": "a"} for r in rows(20)]
    path = write(tmp_path, content)
    table = ManifestCorpus(path=path, dev_from="train", dev_share=0.3).table()
    assert not set(table[table["split"] == "dev"]["speaker"]) & set(table[table["split"] == "train"]["speaker"])
    assert list(table["split"] == "test") == [r["split"] == "test" for r in content]
    given = ManifestCorpus(path=write(tmp_path, rows()), dev_from="train").table()
    assert list(given["split"]) == [r["split"] for r in rows()]


def test_every_error_of_a_manifest_comes_at_once_with_its_line(tmp_path):
    content = [r | {"id": f"u{i}", "start": "0"} for i, r in enumerate(rows())]
    path = write(tmp_path, content)
    (tmp_path / "wav" / "0.wav").unlink()
    content[2]["id"] = "u1"
    content[3]["audio"] = "../outside.wav"
    content[4]["start"] = "soon"
    content[5]["split"] = "dve"
    content[6]["keyword"] = "never"
    content[7]["audio"] = ""
    words = said(ManifestCorpus(path=write(tmp_path, content, audio=False)))
    assert str(path) in words
    assert f"line 2: {tmp_path}/wav/0.wav" in words
    assert "u1 (line 3, line 4)" in words
    assert "line 5: ../outside.wav" in words and "allow_outside" in words
    assert "line 6: soon" in words
    assert "line 7: dve" in words
    assert "line 8 (dev): never" in words and "train has: a, b" in words
    assert "the audio is not named\n  1: line 9" in words


def test_many_problems_of_a_kind_are_counted_not_listed(tmp_path):
    words = said(ManifestCorpus(path=write(tmp_path, rows(100), audio=False)))
    assert words.count("line ") == 20 and "100: line 2" in words and "and 80 more" in words


def test_wrong_names_are_answered_with_the_nearest(tmp_path):
    path = write(tmp_path, rows())
    words = said(ManifestCorpus(path=path, columns={"audio": "adio", "emotion": "kword"}, where={"spliit": "x"}))
    for name in ("did you mean 'audio'", "did you mean 'keyword'", "did you mean 'split'"):
        assert name in words
    with pytest.raises(ValidationError, match="did you mean 'keyword'"):
        ManifestCorpus(path=path, columns={"keywords": "keyword"})
    assert "did you mean 'm.csv'" in said(ManifestCorpus(path=tmp_path / "mm.csv"))
    assert "should end in one of .csv" in said(ManifestCorpus(path=tmp_path / "m.xlsx"))
    assert "did you mean 'a'" in said(ManifestCorpus(path=path, where={"keyword": "aa"}))


def test_absent_columns_and_empty_splits_say_what_to_do(tmp_path):
    bare = [{k: r[k] for k in ("audio", "text")} for r in rows()]
    assert "say split: {by: speaker" in said(ManifestCorpus(path=write(tmp_path, bare)))
    assert "or say by: utterance" in said(ManifestCorpus(path=write(tmp_path, bare), split=SeededSplit()))
    assert "no column says what was said" in said(ManifestCorpus(path=write(tmp_path, [{"audio": "wav/0.wav"}])))
    assert "no column says where the audio is" in said(ManifestCorpus(path=write(tmp_path, [{"text": "a"}])))
    path = write(tmp_path, rows())
    assert "say dev_from: train" in said(ManifestCorpus(path=path, where={"split": ["train", "test"]}))
    assert "'test' is empty" in said(ManifestCorpus(path=path, where={"split": ["train", "dev"]}))
    assert "several rows name the same audio" in said(ManifestCorpus(path=write(tmp_path, [*rows(), *rows()])))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"audio,text,split\nwav/0.wav,caf\xe9,train\n", "line 2, 'text': caf"),
        (b"audio,text,split\nwav/0.wav,a\0b,train\n", "line 2, 'text': a"),
        ("audio,text,split\nwav/0.wav,a,train\n".encode("utf-16"), "UTF-16"),
        (
            b"audio,text,split\nwav/0.wav,a,train,more\nwav/0.wav\n",
            "should have 3 cells, as the header has\n  2: line 2: 4",
        ),
        (b'audio,text,split\nwav/0.wav,"a,train\n', "quotes should be closed"),
        (b"audio,text,text\n", "two columns have the same name"),
        (b"", "has no header"),
        (b"audio,text,split\n", "it has no rows"),
    ],
)
def test_what_is_no_table_of_unicode_text_is_refused_with_its_place(tmp_path, content, words):
    (tmp_path / "m.csv").write_bytes(content)
    assert words in said(ManifestCorpus(path=tmp_path / "m.csv"))


def test_broken_json_and_parquet_are_refused(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"audio": "a.wav", "text": "\\ud800", "split": "train"}\n{"audio"\n[1]\n')
    words = said(ManifestCorpus(path=tmp_path / "m.jsonl"))
    assert "line 1, 'text'" in words and "line 2: " in words and "line 3: a list" in words
    (tmp_path / "m.parquet").write_bytes(b"not a table")
    assert "can't be read as PARQUET" in said(ManifestCorpus(path=tmp_path / "m.parquet"))


def test_absolute_paths_need_permission(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "home").mkdir()
    content = rows()
    for number, row in enumerate(content):
        row["audio"] = str(elsewhere / f"{number}.wav")
        (elsewhere / f"{number}.wav").touch()
    path = write(tmp_path / "home", content, audio=False)
    assert "audio should lie under" in said(ManifestCorpus(path=path))
    assert list(ManifestCorpus(path=path, allow_outside=True).table()["audio"]) == [r["audio"] for r in content]
    assert list(ManifestCorpus(path=path, root=tmp_path).table()["audio"]) == [r["audio"] for r in content]


def test_limits_are_checked_where_they_are_written(tmp_path):
    with pytest.raises(ValidationError, match="min_seconds"):
        ManifestCorpus(path="m.csv", min_seconds=5, max_seconds=4)
    with pytest.raises(ValidationError, match="leave nothing to train on"):
        SeededSplit(dev=0.5, test=0.5)
    with pytest.raises(ValidationError, match="did you mean 'demo'"):
        READERS["synthetic"](preset="demoo")


def test_the_synthetic_corpus_has_the_columns_of_every_corpus():
    table = READERS["synthetic"](preset="smoke").table()
    assert list(table.columns) == list(COLUMNS)
    assert set(table["split"]) == {"train", "dev", "test"} and table["audio"].isna().all() and table["id"].is_unique


@pytest.mark.skipif(
    not (SHARED / "manifest.tsv").exists(), reason="the real speech is not here (TOKENGRID_SHARED_DATA)"
)
@pytest.mark.parametrize(
    ("task", "name", "count"),
    [("keyword", "speech_commands_v2_test", 192), ("emotion", "emodb_2s", 84), ("intent", "barista_intent", 60)],
)
def test_real_speech_loads_and_none_of_it_is_broken(tmp_path, task, name, count):
    from orchestrator import audio

    columns = {"audio": "path", task: "label"}
    table = ManifestCorpus(
        path=SHARED / "manifest.tsv", columns=columns, where={"set": name}, dev_from="train", dev_share=0.15
    ).table()
    assert len(table) == count and table[task].notna().all() and set(table["split"]) == {"train", "dev", "test"}
    good, quarantine = audio.index(table, tmp_path / "cache")
    assert len(good) == count and quarantine.empty
