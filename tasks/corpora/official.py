"""Corpora in their official layout: the folder as published, held against what should be in it.

A reader subclasses `OfficialCorpus`, says what its folder looks like, and turns what is there into rows:

    class Ravdess(OfficialCorpus):
        title = "RAVDESS"
        landmarks = ("Actor_01", "Actor_02")

        def _table(self, copy: Copy) -> pd.DataFrame:
            files = list(files_below(self.path, ".wav"))
            copy.count("recordings", len(files), OFFICIAL)
            return frame(… for path in files)
"""

from __future__ import annotations

import logging
import os
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import field_validator

from orchestrator.errors import UserError, suggest
from tasks.corpora.corpus import COLUMNS, Corpus
from tasks.corpora.problems import Problems

if TYPE_CHECKING:
    import pandas as pd

LOOKED_AT = 200
"""Folders that are looked into, at each level, to find the one that the user meant."""

log = logging.getLogger(__name__)


class OfficialCorpus(Corpus):
    """A published corpus that the user has unpacked.

    Attributes:
        title: its name, as messages say it.
        landmarks: paths below the right folder, one of which at least is there in any copy of it.
        path: the folder; `~` is the home folder.
        partial: whether an incomplete copy is used. What it lacks is logged.
    """

    title: ClassVar[str]
    landmarks: ClassVar[tuple[str, ...]]

    path: Path
    partial: bool = False

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    def table(self) -> pd.DataFrame:
        check_folder(self.title, self.path, self.landmarks)
        copy = Copy(f"{self.title} in {self.path}", self.partial)
        table = self._table(copy)
        if table["fold"].isna().all():  # folds make their own splits
            there = set(table["split"].dropna())
            for name in ("train", "dev", "test"):
                if not any(split.startswith(name) for split in there):
                    copy.wrong("a split has no utterance", name)
        copy.check()
        return table

    @abstractmethod
    def _table(self, copy: Copy) -> pd.DataFrame:
        """The rows that are there (see `Corpus.table`); what is wrong with them or lacks is told to `copy`."""


class Copy:
    """Collects what is wrong with a copy of a published corpus, and what it lacks.

    Args:
        of: what is checked, as messages begin: `LibriSpeech in /data/LibriSpeech`.
        partial: whether it may lack something.
    """

    def __init__(self, of: str, partial: bool):
        self.of = of
        self.partial = partial
        self._wrong = Problems(of)
        self._lacks: dict[str, list[str]] = {}

    def wrong(self, kind: str, place: str = "") -> None:
        """Notes what can't be used, in any copy: a kind (a sentence that says what to do) at a place."""
        self._wrong.add(kind, place)

    def lacks(self, kind: str, place: str = "") -> None:
        """Notes what an incomplete copy lacks: an error, or logged where the copy may be partial."""
        self._lacks.setdefault(kind, []).append(place)

    def count(self, what: str, found: int, official: int) -> None:
        """Compares how many there are of something (`utterances of train-clean-100`) with the published number."""
        if found < official:
            self.lacks("fewer than published are there", f"{what}: {found:,} of {official:,}")
        elif found > official:
            do = "more than published are there: is it another version, or were files added?"
            self.wrong(do, f"{what}: {found:,}, published are {official:,}")

    def paired(self, transcribed: Collection[str], recorded: Collection[str], of: str = "") -> set[str]:
        """The names that have both a transcript and audio; the others lack one of them.

        Args:
            transcribed, recorded: names (ids, or paths in the corpus) of transcripts and of audio files.
            of: what they are part of, for the message.
        """
        both = set(transcribed) & set(recorded)
        where = f"{of}: " if of else ""
        for kind, names in (("transcripts without audio", transcribed), ("audio without transcripts", recorded)):
            for name in sorted(set(names) - both):
                self.lacks(kind, f"{where}{name}")
        return both

    def check(self) -> None:
        """Raises UserError with everything that keeps the copy from being used; logs what a partial one lacks."""
        if self.partial:
            for kind, places in self._lacks.items():
                named = "; ".join(filter(None, places[:5])) + ("; …" if len(places) > 5 else "")
                log.warning("%s is incomplete: %s (%d): %s", self.of, kind, len(places), named)
            self._lacks = {}
        else:
            for kind, places in self._lacks.items():
                for place in places:
                    self._wrong.add(f"{kind}. Unpack the rest, or say partial: true to use what is there", place)
        self._wrong.check()


def table_of(columns: Mapping[str, Sequence[str | float | None]], count: int) -> pd.DataFrame:
    """The table of a corpus out of whole columns, for large ones (`corpus.frame` makes it out of rows)."""
    import pandas as pd

    return pd.DataFrame({**dict.fromkeys(COLUMNS), **columns}, dtype=object, index=range(count))


def check_folder(title: str, folder: Path, landmarks: Collection[str]) -> None:
    """Whether a folder is the one that has the landmarks (one of them at least).

    Raises:
        UserError: it isn't; the message names the folder that was probably meant, above or below it.
    """
    if _has(folder, landmarks):
        return
    listed = ", ".join(landmarks)
    if not folder.is_dir():
        there = [entry.name for entry in _folders(folder.parent)] if folder.parent.is_dir() else []
        hint = suggest(folder.name, there) if there else f"there is no folder {folder.parent} either"
        came = "a file" if folder.exists() else "not there"
        raise UserError(f"{title}: expected the folder {folder}, which is {came}: {hint}")
    children = _folders(folder)
    below = [*children, *(grandchild for child in children for grandchild in _folders(child))]
    meant = [one for one in (*folder.parents[:3], *below) if _has(one, landmarks)]
    if meant:
        where = "above" if meant[0] in folder.parents else "below"
        hint = f"did you mean {meant[0]}, {where} it? Say path: {meant[0]}"
    else:
        names = sorted(entry.name for entry in islice(folder.iterdir(), LOOKED_AT))
        hint = f"it has {', '.join(names[:10]) or 'nothing'}{', …' if len(names) > 10 else ''}. Is it unpacked?"
    raise UserError(f"{title}: {folder} should have one of {listed}, and has none: {hint}")


def files_below(folder: Path | str, *suffixes: str) -> Iterator[str]:
    """Absolute paths of the files below a folder that end so, a folder's own before those below it, each in the order of
    their names; hidden ones are passed over."""
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            there = sorted(entries, key=lambda entry: entry.name)
        below = []
        for entry in there:
            if entry.name.startswith("."):
                continue
            if entry.name.endswith(suffixes):  # first, since it costs less than asking what the entry is
                yield entry.path
            elif entry.is_dir():
                below.append(entry.path)
        waiting += reversed(below)


def _has(folder: Path, landmarks: Collection[str]) -> bool:
    return any((folder / mark).exists() for mark in landmarks)


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in islice((e for e in entries if e.is_dir()), LOOKED_AT))
    except OSError:
        return []
