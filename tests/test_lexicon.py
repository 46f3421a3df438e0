"""Lexicons of every published form give the same phonemes; real transcripts get those that the corpus itself has."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from official_layouts import needs_speech, real_speech

from orchestrator.errors import UserError
from tasks.corpora.lexicon import Lexicon

FORMS = {
    "cmudict-0.7b": ";;; # CMUdict\nABBE  AE1 B IY0\nABBE(1)  AE0 B EY1\nDÉJÀ  D EY2 ZH AA1\nA  AH0\nA.  EY1\nB.  B IY1\n",
    "cmudict.dict": "abbe AE1 B IY0 # a comment\nabbe(2) AE0 B EY1\ndéjà D EY2 ZH AA1\na AH0\na. EY1\nb. B IY1\n",
    "librispeech-lexicon.txt": "ABBE\tAE1 B IY0\nABBE\tAE0 B EY1\nDÉJÀ\tD EY2 ZH AA1\nA AH0\nA. EY1\nB. B IY1\n",
}


def lexicon(folder: Path, form: str = "cmudict.dict", stress: str = "drop") -> Lexicon:
    encoding = "latin-1" if form == "cmudict-0.7b" else "utf-8"
    (folder / form).write_text(FORMS[form], encoding)
    return Lexicon(folder / form, stress)


@pytest.mark.parametrize("form", FORMS)
def test_every_published_form_is_read_and_the_first_pronunciation_counts(tmp_path, form):
    read = lexicon(tmp_path, form)
    assert len(read) == 5 and "ABBE" in read and "abbé" not in read
    assert read.transcribe(["ABBE déjà", "a abbe"], "drop", "it") == ["AE B IY D EY ZH AA", "AH AE B IY"]
    assert lexicon(tmp_path, form, "keep").transcribe(["abbe"], "error", "it") == ["AE1 B IY0"]


def test_unknown_words_drop_their_text_are_spelled_or_end_it(tmp_path):
    read = lexicon(tmp_path)
    texts = ["abbe", "abbe ab's", "", "c abbe"]
    assert read.transcribe(texts, "drop", "it") == ["AE B IY", None, None, None]
    assert read.transcribe(["abbe b'a"], "spell", "it") == ["AE B IY B IY EY"]
    with pytest.raises(UserError, match=r"neither the pronunciation nor the letters of 2 words: ab's \(1\), c \(1\)"):
        read.transcribe(texts, "spell", "it")
    with pytest.raises(UserError, match=r"has no pronunciation of 2 words: ab's \(1\), c \(1\)"):
        read.transcribe(texts, "error", "it")


@given(st.lists(st.lists(st.sampled_from(["abbe", "A", "déjà", "q", "x'"]), max_size=5), max_size=30))
def test_looking_up_whole_columns_equals_word_by_word(tmp_path_factory, texts):
    read = lexicon(tmp_path_factory.mktemp("lexicon"))
    known = {"abbe": "AE B IY", "a": "AH", "déjà": "D EY ZH AA"}
    expected = [
        " ".join(known[word.lower()] for word in words) if words and all(w.lower() in known for w in words) else None
        for words in texts
    ]
    assert read.transcribe(["  ".join(words) for words in texts], "drop", "it") == expected


def test_a_lexicon_that_cant_be_used_says_why(tmp_path):
    (tmp_path / "lexicon.txt").write_text("word W ER D\nalone\n")
    with pytest.raises(UserError, match=r"(?s)a word and its phonemes.*line 2: alone"):
        Lexicon(tmp_path / "lexicon.txt")
    (tmp_path / "empty.txt").write_text(";;; nothing\n")
    with pytest.raises(UserError, match="it has no words"):
        Lexicon(tmp_path / "empty.txt")
    with pytest.raises(UserError, match=r"did you mean 'lexicon.txt'"):
        Lexicon(tmp_path / "lexikon.txt")


@needs_speech
@pytest.mark.skipif(
    importlib.util.find_spec("cmudict") is None, reason="there is no CMUdict (package cmudict) to test with"
)
def test_real_transcripts_get_the_phones_that_the_corpus_has():
    import cmudict

    rows = real_speech("librispeech")
    rows = rows[rows["phones"] != ""]
    path = Path(cmudict.__file__).parent / "data" / "cmudict.dict"
    said = Lexicon(path).transcribe(rows["text"].tolist(), "drop", "LibriSpeech")
    assert sum(one == two for one, two in zip(said, rows["phones"], strict=True)) / len(rows) > 0.99


@needs_speech
def test_real_phones_in_the_users_own_lexicon_come_back(tmp_path):
    rows = real_speech("librispeech")
    rows = rows[rows["phones"] != ""]
    known = {f"w{number}": phones for number, phones in enumerate(rows["phones"])}
    (tmp_path / "lexicon.txt").write_text("".join(f"{word}\t{phones}\n" for word, phones in known.items()))
    read = Lexicon(tmp_path / "lexicon.txt")
    assert read.transcribe(list(known), "error", "it") == rows["phones"].tolist()
    assert read.transcribe([" ".join(known)], "error", "it") == [" ".join(rows["phones"])]
