"""LibriSpeech (Panayotov et al. 2015, openslr.org/12): read English audiobooks, 1000 hours, 16 kHz FLAC.

Layout: `<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac`, with all transcripts of a chapter in
`<speaker>-<chapter>.trans.txt` beside them, and `SPEAKERS.TXT` at the top.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from orchestrator.errors import suggest
from tasks.corpora.corpus import COLUMNS
from tasks.corpora.lexicon import Lexicon, Stress, Unknown
from tasks.corpora.official import Copy, OfficialCorpus, files_below

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
        utterances = sorted(one for split, subset in named for one in self._subset(split, subset, copy))
        self._check_speakers(utterances, [subset for _, subset in named], copy)
        copy.check()
        names, splits, audio, texts = zip(*utterances, strict=True) if utterances else [()] * 4
        rows = {"id": names, "audio": audio, "split": splits, "text": texts}
        rows["speaker"] = [name.split("-", 1)[0] for name in names]
        if self.lexicon is not None:
            lexicon = Lexicon(self.lexicon.expanduser().absolute(), self.stress)
            rows["phonemes"] = lexicon.transcribe(texts, self.unknown, self.title)
        import pandas as pd

        return pd.DataFrame(rows, dtype=object).reindex(columns=COLUMNS, fill_value=None)

    def _subset(self, split: str, subset: str, copy: Copy) -> list[tuple[str, str, str, str]]:
        """Id, split, audio and words of each utterance."""
        # Not torchaudio.datasets.LIBRISPEECH: it opens a chapter's transcripts anew for every utterance of it (48 times on
        # average), stops at the first one that lacks, and doesn't notice transcripts without audio.
        folder = self.path / subset
        if not folder.is_dir():
            copy.lacks("subsets are not there", f"{subset} ({UTTERANCES[subset]:,} utterances)")
            return []
        audio: dict[str, str] = {}
        texts: dict[str, str] = {}
        for path in files_below(folder, ".flac", ".trans.txt", ".wav", ".mp3"):
            chapter, _, name = path.rpartition(os.sep)
            stem, _, suffix = name.partition(".")
            if suffix == "trans.txt":
                texts |= _transcripts(path, copy)
            elif suffix != "flac":
                copy.wrong("audio should be FLAC as published; is it another corpus, or converted?", path)
            elif not chapter.endswith(os.sep + stem.rpartition("-")[0].replace("-", os.sep)):
                copy.wrong("audio should lie under its speaker and chapter", path)
            else:
                audio[stem] = path
        names = copy.paired(texts, audio, subset)
        copy.count(f"utterances of {subset}", len(names), UTTERANCES[subset])
        return [(name, split, audio[name], texts[name]) for name in names]

    def _check_speakers(self, utterances: list[tuple[str, str, str, str]], subsets: list[str], copy: Copy) -> None:
        """Holds the speakers of each subset against SPEAKERS.TXT, where it is there."""
        try:
            lines = (self.path / "SPEAKERS.TXT").read_text("utf-8", errors="replace").splitlines()
        except OSError:
            return
        # 14   | F | train-clean-360  | 25.03 | Kristin LeMoine
        cells = [[cell.strip() for cell in line.split("|")] for line in lines if not line.startswith(";")]
        listed = {cell[0]: cell[2] for cell in cells if len(cell) >= 5}
        below = len(str(self.path)) + 1
        found = {(name.split("-", 1)[0], audio[below:].split(os.sep, 1)[0]) for name, _, audio, _ in utterances}
        for speaker, subset in sorted(found):
            if listed.get(speaker, subset) != subset:
                copy.wrong(
                    "speakers should be in the subset of SPEAKERS.TXT",
                    f"{speaker} is in {subset}, not {listed[speaker]}",
                )
        for speaker, subset in listed.items():
            if subset in subsets and (speaker, subset) not in found:
                copy.lacks("speakers of SPEAKERS.TXT are not there", f"{subset}/{speaker}")


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
