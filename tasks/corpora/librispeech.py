"""LibriSpeech (Panayotov et al. 2015, openslr.org/12): read English audiobooks, 1000 hours, 16 kHz FLAC.

Layout: `<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac`, with all transcripts of a chapter in
`<speaker>-<chapter>.trans.txt` beside them, and `SPEAKERS.TXT` at the top.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from orchestrator.errors import suggest
from tasks.corpora.lexicon import Lexicon, Stress, Unknown
from tasks.corpora.official import Copy, OfficialCorpus, files_below, table_of

if TYPE_CHECKING:
    import pandas as pd

UTTERANCES = {
    "train-clean-100": 28_539,
    "train-clean-360": 104_014,
    "train-other-500": 148_688,
    "dev-clean": 2_703,
    "dev-other": 2_864,
    "test-clean": 2_620,
    "test-other": 2_939,
}
"""Of every subset, as in the archives of openslr.org/12 (292 367 in all; the train sets of 960 hours are 281 241)."""


class LibriSpeechCorpus(OfficialCorpus):
    """LibriSpeech: read English. text as transcribed, and phonemes where a lexicon is given.

    Attributes:
        train, dev, test: the subsets of each split. Test subsets are test sets of their own.
        lexicon: gives the column `phonemes`: cmudict-0.7b, cmudict.dict, librispeech-lexicon.txt, or one of that form.
        stress: whether phonemes keep the stress of vowels.
        unknown: what becomes of words that the lexicon lacks (tasks/corpora/lexicon.py).
    """

    title: ClassVar[str] = "LibriSpeech"
    landmarks: ClassVar[tuple[str, ...]] = tuple(UTTERANCES)

    reader: Literal["librispeech"] = "librispeech"
    train: tuple[str, ...] = Field(("train-clean-100", "train-clean-360", "train-other-500"), min_length=1)
    dev: tuple[str, ...] = Field(("dev-clean", "dev-other"), min_length=1)
    test: tuple[str, ...] = Field(("test-clean", "test-other"), min_length=1)
    lexicon: Path | None = None
    stress: Stress = "drop"
    unknown: Unknown = "drop"

    @field_validator("train", "dev", "test")
    @classmethod
    def _known(cls, subsets: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [
            f"there is no subset '{one}': {suggest(one, UTTERANCES)}" for one in subsets if one not in UTTERANCES
        ]:
            raise ValueError("; ".join(unknown))
        return subsets

    @model_validator(mode="after")
    def _apart(self) -> Self:
        subsets = (*self.train, *self.dev, *self.test)
        if twice := sorted({one for one in subsets if subsets.count(one) > 1}):
            raise ValueError(f"a subset should be in one split only: {', '.join(twice)}")
        return self

    def _table(self, copy: Copy) -> pd.DataFrame:
        named = [("train", one) for one in self.train] + [("dev", one) for one in self.dev]
        # A test subset keeps its name; another one that is tested on gets one that says so.
        named += [(one if one.startswith("test") else f"test-{one}", one) for one in self.test]
        audio: dict[str, str] = {}
        texts: dict[str, str] = {}
        splits: dict[str, str] = {}
        for split, subset in named:
            found, said = self._subset(subset, copy)
            names = copy.paired(said, found, subset)
            copy.count(f"utterances of {subset}", len(names), UTTERANCES[subset])
            for twice in sorted(names & splits.keys()):
                copy.wrong("an utterance should be there once", found[twice])
            self._check_speakers(subset, names, copy)
            audio |= found
            texts |= said
            splits |= {name: split for name in found if name in names}  # in order, which makes the sorting below fast
        copy.check()
        ids = sorted(splits)
        rows: dict[str, Sequence[str | None]] = {
            "id": ids,
            "audio": [audio[name] for name in ids],
            "speaker": [name.split("-", 1)[0] for name in ids],
            "split": [splits[name] for name in ids],
            "text": [texts[name] for name in ids],
        }
        if self.lexicon is not None:
            lexicon = Lexicon(self.lexicon.expanduser().absolute(), self.stress)
            rows["phonemes"] = lexicon.transcribe(rows["text"], self.unknown, self.title)
        return table_of(rows, len(ids))

    def _subset(self, subset: str, copy: Copy) -> tuple[dict[str, str], dict[str, str]]:
        """The audio file of each utterance, and the words of each."""
        # Not torchaudio.datasets.LIBRISPEECH: it opens a chapter's transcripts anew for every utterance of it (48 times on
        # average), stops at the first one that lacks, and doesn't notice transcripts without audio.
        folder = self.path / subset
        audio: dict[str, str] = {}
        texts: dict[str, str] = {}
        if not folder.is_dir():
            copy.lacks("subsets are not there", subset)
            return audio, texts
        chapter, start = "", ""
        for path in files_below(folder, ".flac", ".trans.txt", ".wav", ".mp3"):
            place, _, name = path.rpartition(os.sep)
            if place != chapter:
                chapter, start = place, "-".join(Path(place).parts[-2:]) + "-"
            if name.endswith(".trans.txt"):
                texts |= _transcripts(path, copy)
            elif not name.endswith(".flac"):
                copy.wrong("audio should be FLAC as published; is it another corpus, or converted?", path)
            elif not name.startswith(start):
                copy.wrong("audio should lie under its speaker and chapter", path)
            else:
                audio[name[:-5]] = path
        return audio, texts

    def _check_speakers(self, subset: str, names: Collection[str], copy: Copy) -> None:
        """Holds the speakers of a subset against SPEAKERS.TXT, where it is there."""
        listed, found = self._speakers, {name.split("-", 1)[0] for name in names}
        for speaker in sorted(found):
            if (there := listed.get(speaker, subset)) != subset:
                copy.wrong(
                    "speakers should be in the subset of SPEAKERS.TXT", f"{speaker} is in {subset}, not in {there}"
                )
        for speaker in sorted(one for one, there in listed.items() if there == subset and one not in found):
            copy.lacks("speakers of SPEAKERS.TXT are not there", f"{subset}/{speaker}")

    @cached_property
    def _speakers(self) -> dict[str, str]:
        """Speaker → subset: `14   | F | train-clean-360  | 25.03 | Kristin LeMoine`."""
        try:
            lines = (self.path / "SPEAKERS.TXT").read_text("utf-8", errors="replace").splitlines()
        except OSError:
            return {}
        cells = [[cell.strip() for cell in line.split("|")] for line in lines if not line.startswith(";")]
        return {cell[0]: cell[2] for cell in cells if len(cell) >= 5}


def _transcripts(path: str, copy: Copy) -> dict[str, str]:
    """Id → words, of a chapter."""
    found = {}
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        copy.wrong("transcripts should be text in UTF-8", f"{path}: {error}")
        return {}
    for line in lines:
        name, _, words = line.partition(" ")
        if words.strip():
            found[name] = words.strip()
        elif name:
            copy.wrong("lines of transcripts should be an id and words", f"{path}: {line}")
    return found
