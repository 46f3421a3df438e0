"""Lexicons: how words are pronounced, and what becomes of a text with words that a lexicon lacks.

Three published formats are read, told apart line by line: cmudict-0.7b (`WORD  P1 P2`, `WORD(1)`, comments after `;;;`),
cmudict.dict (`word P1 P2`, `word(2)`, comments after ` #`) and librispeech-lexicon.txt (`WORD<tab>P1 P2`, a word with
several pronunciations on several lines). A lexicon of the user's is of the last form, in any alphabet.
torchaudio.datasets.CMUDict reads the first of them only, and only beside a file of symbols.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from orchestrator.errors import UserError, suggest
from tasks.corpora.problems import SHOWN, Problems

Stress = Literal["drop", "keep"]
Unknown = Literal["drop", "spell", "error"]

VARIANT = re.compile(r"\(\d+\)$")
"""The mark of a second pronunciation: `abbe(2)`."""

STRESSED = re.compile(r"\b([A-Z]+)[012]\b")
"""A vowel of ARPAbet with its stress: `AH0`."""

BATCH = 30_000
"""Texts that are looked up at once."""

log = logging.getLogger(__name__)


class Lexicon:
    """The first pronunciation of every word.

    Args:
        path: of the file, in one of the formats above.
        stress: whether the stress of vowels is kept (`AH0`), or dropped (`AH`, the 39 phonemes of the field).

    Raises:
        UserError: the file can't be read, or has lines without a pronunciation.
    """

    def __init__(self, path: Path, stress: Stress = "drop"):
        self.path = path
        self._phonemes: dict[str, str] = {}
        problems = Problems(f"the lexicon {path}")
        for number, line in enumerate(_text(path).splitlines(), 1):
            if line.startswith(";;;") or not (line := line.split(" #", 1)[0]).strip():
                continue
            word, *phonemes = line.split()
            if not phonemes:
                problems.add("lines should be a word and its phonemes, separated by blanks", f"line {number}: {word}")
            elif not VARIANT.search(word):
                self._phonemes.setdefault(word.lower(), " ".join(phonemes))
        if not self._phonemes:
            problems.add("it has no words")
        problems.check()
        if stress == "drop":
            self._phonemes = {word: STRESSED.sub(r"\1", said) for word, said in self._phonemes.items()}

    def __len__(self) -> int:
        return len(self._phonemes)

    def __contains__(self, word: str) -> bool:
        return word.lower() in self._phonemes

    def spelled(self, word: str) -> str | None:
        """The phonemes of a word read letter by letter; None where the lexicon doesn't say how a letter is called.

        `a.` is how CMUdict writes the name of the letter, where `a` is the word.
        """
        letters = [letter for letter in word.lower() if letter != "'"]
        named = [self._phonemes.get(f"{letter}.") or self._phonemes.get(letter) for letter in letters]
        return " ".join(filter(None, named)) if named and all(named) else None

    def transcribe(self, texts: Sequence[str], unknown: Unknown, of: str) -> list[str | None]:
        """The phonemes of texts, separated by blanks.

        Args:
            texts: words separated by blanks, in either case.
            unknown: what becomes of a word that the lexicon lacks: `drop` leaves its text without phonemes (it is no part
                of a phoneme task), `spell` reads the word letter by letter, `error` ends with a list of such words.
            of: what the texts are of, for messages.

        Returns:
            As many as texts; None where there are none.

        Raises:
            UserError: words lack, and they must not.
        """
        said, lacking = _look_up(texts, self._phonemes)
        if unknown == "spell" and lacking:
            spelled = {word: one for word in lacking if (one := self.spelled(word))}
            log.warning("%s: %d words are spelled out: %s", of, len(spelled), _commonest(lacking, spelled))
            said, lacking = _look_up(texts, self._phonemes | spelled)
        named = _commonest(lacking, lacking)
        if lacking and unknown != "drop":
            do = "has no pronunciation" if unknown == "error" else "has neither the pronunciation nor the letters"
            raise UserError(
                f"{of}: the lexicon {self.path} {do} of {len(lacking)} words: {named}. Add them to it, or say "
                "unknown: drop, to leave out the utterances that have them"
            )
        if lacking:
            left = sum(1 for one in said if one is None)
            why = f"since the lexicon lacks {len(lacking)} words: {named}"
            log.warning("%s: %d of %d utterances have no phonemes, %s", of, left, len(texts), why)
        return said


def _look_up(texts: Sequence[str], phonemes: Mapping[str, str]) -> tuple[list[str | None], Counter[str]]:
    """The phonemes of each text, None where a word of it is not among them; and how often each such word occurs."""
    # Here, and at all: word by word in Python takes seconds on a thousand hours of speech.
    import pyarrow as pa
    import pyarrow.compute as pc

    known, named = pa.array(phonemes, pa.string()), pa.array(phonemes.values(), pa.string())

    def batch(at: int) -> tuple[list[str | None], pa.Array]:
        one = pc.utf8_trim_whitespace(pc.utf8_lower(pa.array(texts[at : at + BATCH], pa.string())))
        words = pc.utf8_split_whitespace(one)
        found = pc.index_in(words.values, value_set=known)
        # A list with a null in it is joined to null.
        joined = pc.binary_join(pa.ListArray.from_arrays(words.offsets, named.take(found)), " ")
        return [said or None for said in joined.to_pylist()], words.values.filter(pc.is_null(found))

    said: list[str | None] = []
    lacking: Counter[str] = Counter()
    with ThreadPoolExecutor(2) as pool:  # Arrow leaves Python's lock; more threads would hold more batches.
        for phonemes_of, without in pool.map(batch, range(0, len(texts), BATCH)):
            said += phonemes_of
            lacking.update(without.to_pylist())
    del lacking[""]  # the only word of an empty text
    return said, lacking


def _commonest(counts: Counter[str], words: Iterable[str]) -> str:
    named = sorted(words, key=lambda word: (-counts[word], word))
    more = f", and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return (", ".join(f"{word} ({counts[word]})" for word in named[:SHOWN]) or "none") + more


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = suggest(path.name, near[:1000]) if near and not path.exists() else error.strerror
        raise UserError(f"there is no lexicon {path} to read ({hint})") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")  # as cmudict-0.7b is
