"""A Hugging Face data set on disk becomes audio files and a table, once, or every reason why not is said."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import labelled_layouts as layouts
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator import audio
from orchestrator.errors import UserError
from tasks.corpora import READERS, Corpus
from tasks.corpora.corpus import COLUMNS
from tasks.corpora.huggingface_layout import PIECE
from tasks.corpora.unpacking import _text

real = pytest.mark.skipif(not layouts.HERE, reason=layouts.ABSENT)
WANTED = {"columns": {"keyword": "label", "speaker": "speaker_id"}}


def reader(path: Path, **asked: object) -> Corpus:
    return READERS["huggingface"](**{"path": path, **WANTED, **asked})


def said(corpus: Corpus) -> str:
    with pytest.raises(UserError) as error:
        corpus.table()
    return str(error.value)


@pytest.fixture(params=["saved", "repository"])
def folder(request, tmp_path) -> Path:
    """A data set in one of the two layouts."""
    return getattr(layouts, f"huggingface_{request.param}")(tmp_path / "words")


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@real
def test_both_layouts_give_the_bytes_the_labels_and_the_splits_of_the_data_set(folder, tmp_path):
    table = reader(folder).table()
    assert list(table.columns) == list(COLUMNS)
    rows = layouts.huggingface_splits()
    assert Counter(table["split"]) == {"train": 12, "dev": 12, "test": 12}
    for split, name in {"train": "train", "dev": "validation", "test": "test"}.items():
        ours = table[table["split"] == split]
        assert ours["keyword"].tolist() == [row["label"] for row in rows[name]]
        assert ours["speaker"].tolist() == [row["speaker"] or None for row in rows[name]]
        for path, row in zip(ours["audio"], rows[name], strict=True):
            assert Path(path).read_bytes() == (layouts.DATA / row["path"]).read_bytes()
            assert Path(path).suffix == ".flac" and Path(path).is_relative_to(tmp_path / "words-unpacked")
    good, bad = audio.index(table, tmp_path / "index")
    assert len(good) == 36 and bad.empty


@real
def test_recordings_are_unpacked_once_and_an_interrupted_unpacking_goes_on(folder, tmp_path):
    target = tmp_path / "elsewhere"
    first = reader(folder, unpacked=target).table()
    before = times(target)
    assert reader(folder, unpacked=target).table().equals(first) and times(target) == before
    next(target.glob("*/table.parquet")).unlink()
    gone = Path(first["audio"][5])
    gone.unlink()
    assert reader(folder, unpacked=target).table().equals(first)
    after = times(target)
    assert {path for path in before if after[path] != before[path]} == {gone, *target.glob("*/table.parquet")}


@real
def test_another_version_of_the_data_is_unpacked_apart(folder, tmp_path):
    reader(folder).table()
    shutil.rmtree(folder)
    made = getattr(layouts, "huggingface_saved")(folder)  # noqa: B009
    other = reader(made).table()
    assert len(list((tmp_path / "words-unpacked").iterdir())) == 2 and len(other) == 36


@real
def test_splits_are_renamed_pooled_and_left_out_as_told(folder):
    asked = {"columns": {"text": "said_by"}, "dev_from": "train", "dev_share": 0.3}
    table = reader(folder, splits={"validation": "train", "test": "test"}, **asked).table()
    assert set(table["text"]) == {"adult child"}
    assert (
        len(table) == 24 and Counter(table["split"])["test"] == 12 and set(table["split"]) == {"train", "dev", "test"}
    )
    assert "which has test, train, validation" in said(reader(folder, splits={"valid": "dev"}))
    next(path for path in folder.rglob("*") if "train" in str(path) and "00001-of-00002" in path.name).unlink()
    swapped = reader(folder, splits={"validation": "train", "test": "test"}, **asked).table()
    assert len(swapped) == 24, "what a split that is left out lacks is nobody's concern"
    with pytest.raises(ValidationError, match="not held-out"):
        reader(folder, splits={"test": "held-out"})


@real
def test_a_split_whose_name_says_nothing_is_asked_for_before_anything_is_unpacked(tmp_path):
    folder = layouts.huggingface_saved(tmp_path / "words")
    (folder / "test").rename(folder / "holdout")
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation", "holdout"]}))
    assert "say what is to become of every split" in said(reader(folder))
    assert not (tmp_path / "words-unpacked").exists()
    names = {"train": "train", "validation": "dev", "holdout": "test"}
    assert len(reader(folder, splits=names).table()) == 36


@real
def test_files_that_lack_are_named_and_too_few_rows_are_counted(folder):
    gone = next(path for path in sorted(folder.rglob("*")) if "00001-of-00002" in path.name)
    gone.unlink()
    words = said(reader(folder))
    assert "files are missing" in words and "00001-of-00002" in words
    if folder.joinpath("README.md").exists():
        assert "rows of test: 7 of 12" in words
    assert len(reader(folder, partial=True).table()) == 31


@real
def test_a_repository_without_a_configuration_is_read_by_its_names_and_parts_are_told_apart(tmp_path):
    folder = layouts.huggingface_repository(tmp_path / "words")
    (folder / "README.md").unlink()
    assert len(reader(folder).table()) == 36
    for part in ("en", "de"):
        for split in ("train", "validation", "test"):
            (folder / part / split).mkdir(parents=True)
            shutil.copy(folder / "data" / f"{split}-00000-of-00002.parquet", folder / part / split / "0000.parquet")
    shutil.rmtree(folder / "data")
    assert "say config: one of de, en" in said(reader(folder))
    assert "did you mean 'en'" in said(reader(folder, config="enn"))
    table = reader(folder, config="en").table()
    assert Counter(table["split"]) == {"train": 7, "dev": 7, "test": 7}


def said_of(folder: Path, card: str, **asked: object) -> str:
    """What is told of a data set with this head of its README.md."""
    (folder / "README.md").write_text(f"---\n{card}\n---\n")
    return said(reader(folder, columns={}, **asked))


BYTES = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_no_file_is_in_two_splits_and_none_is_read_twice(tmp_path):
    folder = written(tmp_path / "set", [{"bytes": b"RIFF", "path": "a.wav"}], BYTES)
    both = "{split: train, path: '*.parquet'}, {split: test, path: test.parquet}, {split: dev, path: dev.parquet}"
    words = said_of(folder, f"configs: [{{data_files: [{both}]}}]")
    assert "2 are in several" in words and "test.parquet (train, test)" in words and "dev.parquet (train, dev)" in words
    twice = both.replace("'*.parquet'", "[train.parquet, 'tr*.parquet']")
    (folder / "README.md").write_text(f"---\nconfigs: [{{data_files: [{twice}]}}]\n---\n")
    assert sorted(reader(folder, columns={}).table()["split"]) == ["dev", "test", "train"]
    more = f"{twice}, {{split: few, path: train.parquet}}"
    assert "train.parquet (train, few)" in said_of(folder, f"configs: [{{data_files: [{more}]}}]")
    assert len(reader(folder, columns={}, splits={"train": "train", "dev": "dev", "test": "test"}).table()) == 3


@pytest.mark.parametrize("other", ["train/0000", "data/train-00000-of-00001", "train-00000-of-00001", "data/train"])
def test_a_split_that_is_there_in_two_ways_of_naming_is_asked_about(tmp_path, other):
    folder = written(tmp_path / "set", [{"bytes": b"RIFF", "path": "a.wav"}], BYTES)
    path = folder / f"{other}.parquet"
    path.parent.mkdir(exist_ok=True)
    shutil.copy(folder / "train.parquet", path)
    words = said(reader(folder, columns={}))
    assert "'train' is there in 2 ways" in words and f"{other}.parquet" in words and "remove all but one" in words
    assert "the split 'train' is empty" in said(reader(folder, columns={}, splits={"dev": "dev", "test": "test"}))
    path.unlink()
    assert len(reader(folder, columns={}).table()) == 3


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("configs: [default]", "configs should list mappings"),
        ("configs: {config_name: default}", "configs should list mappings"),
        ("configs: 3", "configs should list mappings"),
        ("configs: [{data_files: ''}]", "'' is no pattern"),
        ("configs: [{data_files: [{split: train, path: ''}]}]", "'' is no pattern"),
        ("configs: [{data_files: .}]", "'.' is no pattern"),
        ("configs: [{data_files: [{path: [a.parquet, null]}]}]", "None is no pattern"),
        ("configs: [{data_files: 'a**b'}]", "'a**b' is no pattern"),
        ("configs: [{data_files: ../*}]", "should lie in it"),
    ],
)
def test_a_card_that_is_not_as_the_hub_has_it_is_told(tmp_path, card, words):
    assert words in said_of(written(tmp_path / "set", [{"bytes": b"RIFF", "path": "a.wav"}], BYTES), card)


def test_a_copy_of_a_data_set_with_paths_has_its_own_recordings(tmp_path):
    first = written(tmp_path / "first", ["in.wav"], pa.string())
    for split in ("train", "dev", "test"):
        (first / f"{split}.wav").touch()
        pq.write_table(pa.table({"audio": [f"{split}.wav"], "keyword": ["a"]}), first / f"{split}.parquet")
    shutil.copytree(first, tmp_path / "second")  # with the times of the files
    for name in ("first", "second", "first"):
        asked = {"columns": {"audio": "audio"}, "unpacked": tmp_path / "unpacked", "allow_outside": True}
        table = reader(tmp_path / name, **asked).table()
        assert {Path(path).parent for path in table["audio"]} == {tmp_path / name}


@real
def test_the_cache_of_the_hub_is_read_and_nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    asked = {"path": None, "hub": "someone/words", "unpacked": tmp_path / "audio"}
    assert "hf download someone/words --repo-type dataset" in said(reader(**asked))
    cached = tmp_path / "hub" / "datasets--someone--words"
    commit = "0123456789abcdef0123456789abcdef01234567"
    layouts.huggingface_repository(cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    assert len(reader(**asked).table()) == 36
    with pytest.raises(ValidationError, match="say unpacked"):
        reader(path=None, hub="someone/words")
    with pytest.raises(ValidationError, match="either path"):
        reader(path=tmp_path, hub="someone/words")


def written(folder: Path, cells: list, kind: pa.DataType) -> Path:
    """Three splits whose audio is these cells."""
    folder.mkdir()
    table = pa.table({"audio": pa.array(cells, kind), "keyword": ["a"] * len(cells)})
    for split in ("train", "dev", "test"):
        pq.write_table(table, folder / f"{split}.parquet")
    return folder


def test_paths_in_cells_cannot_leave_the_folder_unless_told(tmp_path):
    folder = written(tmp_path / "set", ["../out.wav", "zip://a.wav::b.zip", str(tmp_path / "out.wav")], pa.string())
    for path in (folder / "in.wav", tmp_path / "out.wav"):
        path.touch()
    asked = {"path": folder, "columns": {"audio": "audio"}}
    words = said(reader(**asked))
    assert all(f"train, row {number}: " in words for number in (1, 2, 3)) and "allow_outside: true" in words
    pq.write_table(pa.table({"audio": [str(tmp_path / "out.wav")], "keyword": ["a"]}), folder / "train.parquet")
    for split in ("dev", "test"):
        pq.write_table(pa.table({"audio": ["in.wav"], "keyword": ["a"]}), folder / f"{split}.parquet")
    # Now only what is named twice is wrong: the paths are as good as any.
    assert "several rows name the same audio" in said(reader(**asked, allow_outside=True))
    shutil.copy(folder / "in.wav", folder / "in2.wav")
    pq.write_table(pa.table({"audio": ["in2.wav"], "keyword": ["a"]}), folder / "test.parquet")
    table = reader(**asked, allow_outside=True).table()
    assert sorted(table["audio"]) == sorted(map(str, (folder / "in.wav", folder / "in2.wav", tmp_path / "out.wav")))
    assert "allow_outside: true" in said(reader(**asked)), "leave given once is not taken for ever"


def test_names_of_recordings_are_ours_whatever_their_cells_say(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": b"RIFF", "path": path} for path in ("../../up.wav", "/etc/cron.d/x", "a.b/c", None, "x.wa/v")]
    table = reader(written(tmp_path / "set", cells, kind), columns={}).table()
    assert all(Path(path).is_relative_to(tmp_path / "set-unpacked") for path in table["audio"])
    assert {Path(path).suffix for path in table["audio"]} == {".wav", ".audio"}
    assert {path.name for path in tmp_path.iterdir()} == {"set", "set-unpacked"}


def test_empty_cells_are_errors_and_are_left_out_of_a_partial_copy(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    folder = written(tmp_path / "set", [{"bytes": b"RIFF", "path": "a.wav"}, None], kind)
    assert "cells are empty" in said(reader(folder, columns={})) and "test, row 2" in said(reader(folder, columns={}))
    assert len(reader(folder, columns={}, partial=True).table()) == 3
    assert "cells are empty" in said(reader(folder, columns={})), "leave given once is not taken for ever"


def test_what_is_no_data_set_is_answered_with_what_would_be(tmp_path):
    assert "is not there" in said(reader(tmp_path / "nowhere"))
    assert "Dataset.save_to_disk" in said(reader(tmp_path)) and "reader: manifest" in said(reader(tmp_path))
    (tmp_path / "train.parquet").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "no stub of Git LFS" in said(reader(tmp_path))
    pq.write_table(pa.table({"text": ["a"], "sound": ["b"]}), tmp_path / "train.parquet")
    assert "name the column with the audio" in said(reader(tmp_path))
    assert "no column 'audio'" in said(reader(tmp_path, columns={"audio": "audio"}))
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["../other"]}))
    assert "should lie in it" in said(reader(tmp_path))
    for content in ("{", "[]", '{"splits": 3}'):
        (tmp_path / "dataset_dict.json").write_text(content)
        assert "dataset_dict.json is not as `datasets` writes it" in said(reader(tmp_path))
    with pytest.raises(ValidationError, match="did you mean 'keyword'"):
        reader(tmp_path, columns={"keywords": "label"})


@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.integers(-1, 20))
def test_a_label_is_its_name_or_nothing(names, number):
    feature = {"_type": "ClassLabel", "names": names}
    known = names[number] if 0 <= number < len(names) else None
    assert _text(number, feature) == known
    assert _text([number, 0], {"_type": "List", "feature": feature}) == " ".join([known or "", names[0]]) or None


def test_numbered_pieces_are_recognised_with_and_without_a_hash():
    for name in ("train-00000-of-00006", "train-00000-of-00006-6b7ed9dd4c07ecfa"):
        found = PIECE.fullmatch(name)
        assert found and found[1] == "train" and (int(found[2]), int(found[3])) == (0, 6)
    assert not PIECE.fullmatch("train")
