"""LibriSpeech, GigaSpeech and CoVoST 2 are read as they are published; what their folders lack is said at once."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from official_layouts import covost2, gigaspeech, librispeech, needs_speech
from pydantic import ValidationError

from orchestrator import audio
from orchestrator.errors import UserError
from tasks.corpora import READERS
from tasks.corpora.corpus import COLUMNS

pytestmark = needs_speech


def said(corpus) -> str:
    """What is told of a folder that can't be used."""
    with pytest.raises(UserError) as error:
        corpus.table()
    return str(error.value)


def check(table, tmp_path: Path) -> None:
    """A table as every corpus has it, whose recordings can all be read."""
    assert set(COLUMNS) <= set(table.columns) and table["id"].is_unique
    for column in ("id", "audio", "speaker", "split", "text"):
        assert table[column].map(lambda cell: isinstance(cell, str) and cell != "").all(), column
    assert all(cell is None or isinstance(cell, (str, float)) for cell in table.to_numpy().ravel())
    good, quarantine = audio.index(table, tmp_path / "cache")
    assert len(good) == len(table) and quarantine.empty


# LibriSpeech


SMALL = {"train": ["train-clean-100"], "dev": ["dev-clean"], "test": ["test-clean", "test-other"]}


def libri(path: Path, **settings):
    return READERS["librispeech"](path=path, **{**SMALL, "partial": True, **settings})


def test_librispeech_is_read_whole_with_its_test_sets_apart(tmp_path, caplog):
    rows = librispeech(tmp_path / "LibriSpeech").set_index("id")
    with caplog.at_level(logging.WARNING):
        table = libri(tmp_path / "LibriSpeech").table()
    check(table, tmp_path)
    assert f"train-clean-100: {(rows['subset'] == 'train-clean-100').sum()} of 28,539" in caplog.text
    found = table.set_index("id")
    assert found["text"].to_dict() == rows["text"].str.upper().to_dict()
    assert found["speaker"].to_dict() == rows["speaker"].to_dict()
    names = {"train-clean-100": "train", "dev-clean": "dev"}
    assert found["split"].to_dict() == {one: names.get(subset, subset) for one, subset in rows["subset"].items()}
    assert set(found["split"]) == {"train", "dev", "test-clean", "test-other"} and found["phonemes"].isna().all()


def test_an_incomplete_librispeech_is_refused_unless_it_may_be_partial(tmp_path):
    root = tmp_path / "LibriSpeech"
    rows = librispeech(root).set_index("id")
    train = rows.index[rows["subset"] == "train-clean-100"]
    chapters = {one: root / "train-clean-100" / rows.loc[one, "speaker"] / one.split("-")[1] for one in train[:3]}
    (chapters[train[0]] / f"{train[0]}.flac").unlink()
    (chapters[train[1]] / f"{train[1].rpartition('-')[0]}.trans.txt").unlink()
    shutil.rmtree(chapters[train[2]].parent)
    told = said(libri(root, partial=False, train=["train-clean-100", "train-clean-360"]))
    for part in (
        f"transcripts without audio. Unpack the rest, or say partial: true to use what is there\n  1: train-clean-100: {train[0]}",
        f"audio without transcripts. Unpack the rest, or say partial: true to use what is there\n  1: train-clean-100: {train[1]}",
        f"train-clean-100/{rows.loc[train[2], 'speaker']}",
        f"utterances of train-clean-100: {len(train) - 3} of 28,539",
        "subsets are not there. Unpack the rest, or say partial: true to use what is there\n  1: train-clean-360",
    ):
        assert part in told
    table = libri(root).table()
    assert set(rows.index) - set(table["id"]) == set(train[:3])


@pytest.mark.parametrize(
    ("place", "meant"), [(".", "LibriSpeech, below it"), ("LibriSpeech/dev-clean", "LibriSpeech, above it")]
)
def test_a_folder_one_level_off_is_named_with_the_one_that_was_meant(tmp_path, place, meant):
    librispeech(tmp_path / "LibriSpeech")
    assert f"did you mean {tmp_path / meant}" in said(libri(tmp_path / place))
    assert "did you mean 'LibriSpeech'?" in said(libri(tmp_path / "Librispeech"))


def test_another_corpus_and_misplaced_files_in_librispeechs_folder_are_named(tmp_path):
    root = tmp_path / "LibriSpeech"
    rows = librispeech(root)
    first, second = (next(root.rglob(f"{one}.flac")) for one in rows["id"][:2])
    first.rename(first.with_suffix(".wav"))
    second.rename(second.parents[1] / second.name)
    lines = (root / "SPEAKERS.TXT").read_text().replace("test-clean", "test-other")
    (root / "SPEAKERS.TXT").write_text(lines)
    told = said(libri(root))
    assert "is it another corpus, or converted?" in told and "audio should lie under its speaker and chapter" in told
    assert "is in test-clean, not in test-other" in told


def test_subsets_are_known_and_in_one_split_only():
    with pytest.raises(ValidationError, match="did you mean 'train-clean-100'"):
        libri(Path("x"), train=["train-clean-10"])
    with pytest.raises(ValidationError, match="in one split only: dev-clean"):
        libri(Path("x"), test=["dev-clean"])


def test_phonemes_come_from_a_lexicon_and_unknown_words_follow_the_rule(tmp_path, caplog):
    rows = librispeech(tmp_path / "LibriSpeech").set_index("id")
    words = sorted({word for text in rows["text"] for word in text.split()})
    lacking = rows["text"].iloc[0].split()[-1]
    letters = "".join(f"{letter}.  L{letter.upper()}1\n" for letter in "abcdefghijklmnopqrstuvwxyz")
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text(
        "".join(f"{word.upper()}  W{n}X AH0\n" for n, word in enumerate(words) if word != lacking) + letters
    )
    expected = {word: f"W{n}X AH" for n, word in enumerate(words)}
    with caplog.at_level(logging.WARNING):
        dropped = libri(tmp_path / "LibriSpeech", lexicon=lexicon).table().set_index("id")["phonemes"]
    assert f"the lexicon lacks 1 words: {lacking}" in caplog.text
    for name, text in rows["text"].items():
        whole = " ".join(expected[word] for word in text.split())
        assert dropped[name] == (None if lacking in text.split() else whole)
    spelled = libri(tmp_path / "LibriSpeech", lexicon=lexicon, unknown="spell").table().set_index("id")["phonemes"]
    assert spelled.iloc[list(spelled.index).index(rows.index[0])].endswith(
        " ".join(f"L{c.upper()}" for c in lacking if c != "'")
    )
    with pytest.raises(UserError, match=rf"has no pronunciation of 1 words: {lacking} \(\d+\)"):
        libri(tmp_path / "LibriSpeech", lexicon=lexicon, unknown="error").table()


# GigaSpeech


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """GigaSpeech's folder, encoded once, and the rows that it was made from."""
    folder = tmp_path_factory.mktemp("published")
    return folder, gigaspeech(folder)


@pytest.fixture
def gigaspeech_copy(published, tmp_path) -> Path:
    """A copy of it for a test of its own."""
    return Path(shutil.copytree(published[0], tmp_path / "GigaSpeech"))


def giga(path: Path, **settings):
    return READERS["gigaspeech"](path=path, **{"subset": "XS", "partial": True, **settings})


def test_gigaspeech_segments_are_read_from_their_long_recordings(tmp_path, caplog):
    rows = gigaspeech(tmp_path)
    with caplog.at_level(logging.INFO):
        table = giga(tmp_path).table()
    check(table, tmp_path)
    assert "2 segments hold no speech and are left out; tags: {'<SIL>': 2}" in caplog.text
    assert "XS: 0.0 of 10 hours" in caplog.text and "segments of DEV: 5 of 6,750" in caplog.text
    found = table.set_index("id")
    assert found["text"].to_dict() == dict(zip(rows["sid"], rows["text"].str.upper(), strict=True))
    assert dict(found["split"].value_counts()) == {"train": 4, "dev": 4, "test": 4}
    assert found["speaker"].nunique() == 3 and found["audio"].nunique() == 3
    for sid, wave in zip(rows["sid"], rows["wave"], strict=True):
        row = found.loc[sid]
        heard = audio.read(row["audio"], row["start"], row["seconds"])
        assert abs(len(heard) - len(wave)) <= 16
        size = min(len(heard), len(wave))
        assert np.corrcoef(heard[:size], wave[:size])[0, 1] > 0.8


def test_a_gigaspeech_copy_says_what_it_lacks_and_what_is_too_much(gigaspeech_copy):
    gone, *_ = sorted((gigaspeech_copy / "audio").rglob("*.opus"))
    shutil.copyfile(gone, gone.with_name("POD0000000009.opus"))
    gone.unlink()
    told = said(giga(gigaspeech_copy, partial=False))
    for part in ("(4 segments)", "POD0000000009.opus", "0.0 of 10 hours", "segments of TEST: 5 of 25,619"):
        assert part in told
    assert "a split has no utterance\n  1: train" in said(giga(gigaspeech_copy))
    assert f"did you mean {gigaspeech_copy}, above it" in said(giga(gigaspeech_copy / "audio"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: len(text) // 2], "the JSON ends early or is damaged"),
        (lambda text: text.replace('"audios"', '"recordings"', 4), "should have a list `audios`"),
        (lambda text: text.replace('"segments"', '"parts"'), "is it another version?"),
        (lambda text: text.replace("audio/podcast", "../podcast"), "audio should lie below the corpus"),
        (lambda text: text.replace('"text_tn"', '"text"'), "\n  14: segments of POD0000000000: text_tn in {'sid'"),
        (
            lambda text: re.sub(r'("begin_time": )([\d.]+)', r'\1"\2"', text, count=2),
            "\n  2: segments of POD0000000000: b",
        ),
        (lambda text: re.sub(r'"subsets": (\[[^]]*\])', '"subsets": null', text, count=2), ": subsets in "),
        (
            lambda text: re.sub(r'("segments"): ', r'\1: null, "other": ', text),
            "\n  3: recordings: segments in {'title'",
        ),
        (
            lambda text: re.sub(r'("audios": \[)', r'\1 3, ["a"], null,', text),
            "\n  3: recordings: aid, path, segments in 3",
        ),
    ],
)
def test_a_damaged_or_strange_gigaspeech_json_is_named(gigaspeech_copy, change, words):
    path = gigaspeech_copy / "GigaSpeech.json"
    path.write_text(change(path.read_text()))
    assert words in said(giga(gigaspeech_copy))


def test_the_json_is_read_the_same_in_blocks_of_any_size(published, monkeypatch):
    from tasks.corpora import gigaspeech as reader
    from tasks.corpora.official import Copy

    whole = json.loads((published[0] / "GigaSpeech.json").read_text())["audios"]
    for size in (100, 1000, 1 << 22):
        monkeypatch.setattr(reader, "BLOCK", size)
        assert list(reader.recordings(published[0] / "GigaSpeech.json", Copy("it", False))) == whole


# CoVoST 2


def covost(folder: Path, **settings):
    paths = {"path": folder / "en", "translations": folder / "translations"}
    return READERS["covost2"](**{**paths, "partial": True, **settings})


def test_covost_joins_translations_with_common_voice(tmp_path, caplog):
    rows = covost2(tmp_path).set_index("id")
    with caplog.at_level(logging.WARNING):
        table = covost(tmp_path).table()
    check(table, tmp_path)
    assert "translations en→de, train: 4 of 289,430" in caplog.text
    found = table.set_index("id")
    assert found["translation_de"].to_dict() == rows["de"].to_dict()
    assert found["translation_zh"].to_dict() == rows["zh"].to_dict()
    assert found["text"].to_dict() == {one: f'"{text.capitalize()}".' for one, text in rows["text"].items()}
    assert (
        found["speaker"].to_dict() == rows["speaker"].to_dict() and found["split"].to_dict() == rows["kept"].to_dict()
    )


def test_one_language_needs_no_table_of_the_other(tmp_path):
    covost2(tmp_path)
    (tmp_path / "translations" / "covost_v2.en_zh-CN.tsv").unlink()
    table = covost(tmp_path, languages=["de"]).table()
    assert len(table) == 6 and table["translation_zh"].isna().all() and table["translation_de"].notna().all()
    assert "covost_v2.en_zh-CN.tsv" in said(covost(tmp_path))


def test_clips_that_are_there_twice_and_languages_that_split_otherwise_are_named(tmp_path):
    rows = covost2(tmp_path)
    chinese, validated = tmp_path / "translations" / "covost_v2.en_zh-CN.tsv", tmp_path / "en" / "validated.tsv"
    text, lines = chinese.read_text(), validated.read_text().splitlines(keepends=True)
    first, *_, last = [f"{one}.mp3" for one in rows["id"]]
    chinese.write_text(text.removesuffix("\n").removesuffix("\r") + f"\n{first}\tsomething else\ttest\n")
    validated.write_text("".join([*lines, lines[2]]))
    told = said(covost(tmp_path))
    assert "a clip should be there once\n  2: validated.tsv: common_voice_en_1001.mp3; covost_v2.en_zh-CN.tsv" in told
    assert f"covost_v2.en_zh-CN.tsv: {first}" in told and "agree" not in told
    chinese.write_text(text.replace("\ttest", "\ttrain"))
    assert f"languages should agree on the split\n  1: {last}: test, train" in said(covost(tmp_path))


def test_another_common_voice_and_clips_that_lack_are_named(tmp_path):
    rows = covost2(tmp_path)
    path = tmp_path / "en" / "validated.tsv"
    text = path.read_text()
    (tmp_path / "en" / "clips" / f"{rows['id'][1]}.mp3").unlink()
    path.write_text(text.replace(f"{rows['id'][0]}.mp3", "common_voice_en_77.mp3"))
    told = said(covost(tmp_path, partial=False))
    assert f"clips/{rows['id'][1]}.mp3" in told and f"{rows['id'][0]}.mp3" in told and "of 15,531" in told
    assert len(covost(tmp_path).table()) == 4
    path.write_text(text.replace("common_voice_en", "common_voice_de"))
    assert "none of the translated clips is in validated.tsv: CoVoST 2 was made from Common Voice 4.0" in said(
        covost(tmp_path)
    )
    path.write_text(text.replace("client_id", "who"))
    assert "lacks ['client_id']" in said(covost(tmp_path))
    path.unlink()
    assert "validated.tsv" in said(covost(tmp_path))
