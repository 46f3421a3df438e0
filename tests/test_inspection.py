"""What was found out about recordings is found again, whole columns at a time, and identities depend on values alone."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import audio, corpora
from orchestrator.errors import UserError
from orchestrator.inspection import COLUMNS, KEY, PARTS, Inspection, compact, find, remember, remembered
from orchestrator.stages.annotations import BATCH, annotations, digest_columns, selection
from orchestrator.store import Store
from tasks.corpora.manifest import ManifestCorpus

spans = st.sampled_from([None, 0.0, 0.5, 1.25])
keys = st.tuples(st.sampled_from(["/a", "/b", "/ü"]), st.integers(0, 2), st.integers(0, 2), spans, spans)
texts = st.lists(st.none() | st.text(alphabet="aäß中 \n", max_size=4), max_size=12)


def asked(rows: list[tuple]) -> pa.Table:
    return pa.table(list(zip(*rows, strict=True)) or [[]] * len(KEY), schema=KEY)


@given(st.dictionaries(keys, st.integers(0, 9), max_size=20), st.lists(keys, max_size=20), st.integers(1, 3))
def test_a_look_up_equals_one_in_a_dictionary(tmp_path_factory, known, wanted, copies):
    folder = tmp_path_factory.mktemp("cache")
    made = {
        key: Inspection(f"h{value}", seconds=float(value), problem="bad" if value > 7 else None)
        for key, value in known.items()
    }
    for _ in range(copies):  # several launches may have seen the same
        remember(folder, made)
    found = find(remembered(folder), asked(wanted))
    assert found.schema.equals(COLUMNS) and len(found) == len(wanted)
    for key, row in zip(wanted, found.to_pylist(), strict=True):
        expected = made.get(key, Inspection(None))
        assert (row["hash"], row["problem"]) == (expected.hash, expected.problem)
        assert row["seconds"] == (expected.seconds if key in made else None)


def test_a_cache_of_many_files_becomes_one_and_says_the_same(tmp_path):
    made = {(f"/{n}", n, n, None, None): Inspection(f"h{n}", n / 2) for n in range(PARTS + 3)}
    for key, one in made.items():
        remember(tmp_path, {key: one})
    wanted = asked(list(made))
    before = find(remembered(tmp_path), wanted)
    compact(tmp_path)
    assert len(list(tmp_path.glob("*"))) == 1
    assert find(remembered(tmp_path), wanted).equals(before) and before["hash"].null_count == 0
    assert remember(tmp_path, {}).equals(COLUMNS.empty_table()) and len(list(tmp_path.glob("*"))) == 1


def test_what_can_not_be_read_at_all_is_told_and_not_remembered(tmp_path):
    told = remember(tmp_path, {("/x", -1, -1, None, None): Inspection("", problem="can't be read")})
    assert told["problem"].to_pylist() == ["can't be read"] and len(remembered(tmp_path)) == 0


def voices(folder, count: int = 6) -> pd.DataFrame:
    """Tones in one long file and in files of their own."""
    time = np.arange(16_000 * count) / 16_000
    soundfile.write(folder / "long.wav", np.sin(time * 2000), 16_000)
    rows = [("long.wav", f"segment {n}", float(n), 1.0) for n in range(count)]
    for n in range(count):
        soundfile.write(folder / f"{n}.wav", np.sin(time[: 8000 + n] * 2000), 16_000)
        rows.append((f"{n}.wav", f"whole {n}", None, None))
    table = pd.DataFrame(rows, columns=["audio", "id", "start", "seconds"], dtype=object)
    return table.assign(audio=[str(folder / name) for name in table["audio"]])


def test_what_the_cache_holds_equals_what_was_indexed_and_needs_no_file_opened(tmp_path, monkeypatch):
    table = voices(tmp_path)
    assert audio.cached(table, tmp_path / "cache") is None
    first = audio.index(table, tmp_path / "cache", workers=2)
    monkeypatch.setattr(audio, "examine", None)
    again = audio.cached(table, tmp_path / "cache")
    for one, two in zip(first, again, strict=True):
        pd.testing.assert_frame_equal(one, two)
    soundfile.write(tmp_path / "0.wav", np.sin(np.arange(9000)), 16_000)
    assert audio.cached(table, tmp_path / "cache") is None


@given(texts, texts)
def test_equal_columns_have_equal_hashes_and_others_have_not(one, two):
    assert (digest_columns({"a": one}) == digest_columns({"a": two})) == (one == two)
    assert (digest_columns({"a": one, "b": two}) == digest_columns({"a": two, "b": one})) == (one == two)
    assert digest_columns({"a": one}) != digest_columns({"b": one})


@given(texts)
def test_a_hash_depends_on_values_not_on_what_holds_them(values):
    expected = digest_columns({"a": values})
    assert digest_columns(pd.DataFrame({"a": values}, dtype=object)) == expected
    assert digest_columns({"a": pd.Series(values, dtype="str")}) == expected
    padded = pd.Series(["x", *values, "y"], dtype="str")
    assert digest_columns({"a": padded.iloc[1:-1]}) == expected


def test_numbers_texts_and_long_columns_are_told_apart():
    assert digest_columns({"a": [1.0, math.nan]}) == digest_columns({"a": pd.Series([1, None], dtype="float32")})
    assert digest_columns({"a": [1.0]}) != digest_columns({"a": ["1.0"]})
    assert digest_columns({"a": [None, None]}) != digest_columns({"a": ["", ""]})
    long = [str(n) for n in range(BATCH + 5)]
    assert (
        digest_columns({"a": long})
        != digest_columns({"a": [*long[:-1], "x"]})
        != digest_columns({"a": ["x", *long[1:]]})
    )


@given(st.permutations(range(8)))
def test_neither_the_order_of_rows_nor_their_index_is_part_of_an_identity(order):
    rows = [
        {"id": f"u{n}", "speaker": f"s{n % 2}" if n else None, "split": "train", "text": f"say {n}" if n % 3 else None}
        for n in range(8)
    ]
    table = pd.DataFrame(rows, dtype=object)
    stage, taught = annotations("it", "text", table)
    other, same = annotations("it", "text", table.iloc[list(order)])
    assert stage.identity == other.identity and taught.equals(same)
    assert list(taught["id"]) == ["u1", "u2", "u4", "u5", "u7"] and set(map(type, taught["speaker"])) == {str}
    assert selection("it", table["id"])[0] == selection("it", table["id"].iloc[list(order)])[0]
    mended = table.assign(text=["said" if text == "say 1" else text for text in table["text"]])
    assert annotations("it", "text", mended)[0].identity != stage.identity
    assert selection("it", mended["id"])[0] == selection("it", table["id"])[0]


def test_a_corpus_is_the_same_before_and_after_its_files_moved_and_unknown_until_indexed(tmp_path):
    def corpus(folder):
        folder.mkdir()
        table = voices(folder)
        rows = table.assign(
            split=["train", "dev", "test"] * 4, text="words", audio=table["audio"].str.rsplit("/").str[-1]
        )
        rows.to_csv(folder / "m.csv", index=False)
        return ManifestCorpus(path=folder / "m.csv")

    one, two, store = corpus(tmp_path / "one"), corpus(tmp_path / "two"), Store(tmp_path / "state")
    assert not corpora.index("it", one, store, only_cached=True).is_known
    indexed = corpora.index("it", one, store)
    known = corpora.index("it", one, store, only_cached=True)
    assert known.is_known and known.recordings == indexed.recordings and known.hours == indexed.hours
    pd.testing.assert_frame_equal(known.table, indexed.table)
    assert corpora.index("it", two, store).recordings.identity == indexed.recordings.identity
    indexed.put(store)
    indexed.put(store)
    soundfile.write(tmp_path / "one" / "0.wav", np.cos(np.arange(9000)), 16_000)
    assert corpora.index("it", one, store).recordings.identity != indexed.recordings.identity


def test_ids_that_occur_twice_are_named(tmp_path):
    class Twice(ManifestCorpus):
        def table(self):
            table = super().table()
            return pd.concat([table, table.head(1)], ignore_index=True)

    table = voices(tmp_path)
    rows = table.assign(split=["train", "dev", "test"] * 4, text="words", audio=table["audio"].str.rsplit("/").str[-1])
    rows.to_csv(tmp_path / "m.csv", index=False)
    with pytest.raises(UserError, match="corpus 'it': ids should occur once: segment 0"):
        corpora.index("it", Twice(path=tmp_path / "m.csv"), Store(tmp_path / "state"))
