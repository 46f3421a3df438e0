"""Speech Commands v0.02: single words, one second each.

Layout (`speech_commands_v0.02.tar.gz`): a folder a word with `<speaker>_nohash_<n>.wav`; `validation_list.txt` and
`testing_list.txt`, all else trains; `_background_noise_` with minutes of noise. `speech_commands_test_set_v0.02.tar.gz`
is the test set of the task with twelve classes: a folder a class. Protocol: arXiv 1804.03209, sections 7 and 7.1.
torchaudio's reader of it has neither the twelve classes nor the noise, and names no missing file.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from orchestrator.errors import suggest
from tasks.corpora.corpus import frame
from tasks.corpora.official import Copy, OfficialCorpus, check_folder, files_below

if TYPE_CHECKING:
    import pandas as pd

COMMANDS = tuple("yes no up down left right on off stop go".split())
"""The ten words of the task with twelve classes; the others are `unknown` (arXiv 1804.03209, section 7)."""

SINCE_V2 = ("backward", "follow", "forward", "learn", "visual")

WORDS = (
    *COMMANDS,
    *"zero one two three four five six seven eight nine bed bird cat dog happy house marvin sheila tree wow".split(),
    *SINCE_V2,
)
"""The 35 words of v0.02."""

UTTERANCES = {"train": 84_843, "dev": 9_981, "test": 11_005}
"""Of each split: 105,829 in all (arXiv 1804.03209; dev and test are the lengths of the two lists)."""

TEST_SET = 4_890
"""Recordings of the test set of twelve classes (as in tensorflow.org/datasets/catalog/speech_commands): 4,074 commands,
408 unknown, 408 silent."""

NOISE = "_background_noise_"
LISTS = {"dev": "validation_list.txt", "test": "testing_list.txt"}
SHARES = {"train": (0.0, 0.8), "dev": (0.8, 0.9), "test": (0.9, 1.0)}
"""The part of each noise file that a split's silence is cut from, so that no noise is heard on two sides."""

SPEAKER = re.compile(r"([0-9a-f]{8})_nohash_\d+")
GRID = 100
"""Cuts of silence begin at multiples of 1/100 s."""

Row = dict[str, Any]


class SpeechCommandsCorpus(OfficialCorpus):
    """Speech Commands v0.02: keyword, with the official splits (by speaker).

    With twelve classes: the ten commands; `unknown`, recordings of the other words; `silence`, seconds of noise, each
    split's from a part of the files of its own. Both are as many as the given share of the commands in their split,
    rounded up: those whose SHA-256 of `<seed>/<id>` is lowest.

    Attributes:
        path: the folder that has the folders of words.
        classes: 12, or all 35 words.
        test_path: the folder of the official test set of twelve classes; None to make one by the rule above.
        unknown, silence: shares of the commands of a split. The protocol has 10 % of each.
        seed: another one takes other recordings and cuts.
    """

    title: ClassVar[str] = "Speech Commands v0.02"
    landmarks: ClassVar[tuple[str, ...]] = tuple(LISTS.values())

    reader: Literal["speech_commands"] = "speech_commands"
    classes: Literal[12, 35] = 12
    test_path: Path | None = None
    unknown: float = Field(0.1, ge=0, le=10)
    silence: float = Field(0.1, ge=0, le=10)
    seed: int = 0

    @field_validator("test_path")
    @classmethod
    def _absolute_test(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path else None

    def _table(self, copy: Copy) -> pd.DataFrame:
        words = self._words(copy)
        if self.classes == 35:
            return frame(words)
        commands = [row for row in words if row["keyword"] in COMMANDS]
        others = [row | {"keyword": "unknown"} for row in words if row["keyword"] not in COMMANDS]
        splits = [split for split in SHARES if split != "test" or not self.test_path]
        rows = [row for row in commands if row["split"] in splits]
        for split in splits:
            commanded = sum(row["split"] == split for row in commands)
            rows += self._unknown(split, [row for row in others if row["split"] == split], commanded, copy)
            rows += self._silence(split, commanded, copy)
        return frame([*rows, *self._official_test(copy)])

    def _words(self, copy: Copy) -> list[Row]:
        """The recordings of words that are there."""
        folders = {entry.name for entry in os.scandir(self.path) if entry.is_dir() and not entry.name.startswith(".")}
        for name in sorted(folders - {*WORDS, NOISE}):
            copy.wrong("folders should be words of v0.02", f"{name}: {suggest(name, WORDS)}")
        missing = sorted(set(WORDS) - folders)
        if missing == sorted(SINCE_V2):
            copy.wrong("this is v0.01; v0.02 is expected", f"no {', '.join(missing)}")
        for name in missing:
            copy.lacks("folders are missing", name)
        recorded = [
            f"{word}/{file.rpartition(os.sep)[2]}"
            for word in sorted(folders & set(WORDS))
            for file in files_below(self.path / word, ".wav")
        ]
        listed = {split: self._list(split, copy) for split in LISTS}
        for name in sorted(listed["dev"] & listed["test"]):
            copy.wrong("recordings should be in one of the two lists", name)
        for split, names in listed.items():
            for name in sorted(names - set(recorded)):
                copy.lacks("recordings are missing", f"{LISTS[split]}: {name}")
        rows = [row for name in recorded if (row := self._row(name, listed, copy))]
        for split, official in UTTERANCES.items():
            copy.count(f"recordings of {split}", sum(row["split"] == split for row in rows), official)
        return rows

    def _list(self, split: str, copy: Copy) -> set[str]:
        file = self.path / LISTS[split]
        if not file.is_file():
            # Without it, recordings of this split would train.
            copy.wrong("both lists are needed to tell the splits", f"{LISTS[split]} is missing")
            return set()
        names = {line.strip() for line in file.read_text("utf-8", errors="replace").splitlines() if line.strip()}
        for name in sorted(names):
            if name.partition("/")[0] not in WORDS:
                copy.wrong("lists should name <word>/<speaker>_nohash_<n>.wav", f"{LISTS[split]}: {name[:80]}")
        return names

    def _row(self, name: str, listed: dict[str, set[str]], copy: Copy) -> Row | None:
        word, _, file = name.partition("/")
        found = SPEAKER.fullmatch(file.removesuffix(".wav"))
        if not found:
            copy.wrong("files should be named <speaker>_nohash_<n>.wav", name)
            return None
        split = next((split for split, names in listed.items() if name in names), "train")
        return {
            "id": name,
            "audio": f"{self.path}/{name}",
            "speaker": found[1],
            "split": split,
            "keyword": word,
            "text": word,
        }

    def _unknown(self, split: str, others: list[Row], commanded: int, copy: Copy) -> list[Row]:
        wanted = _share(self.unknown, commanded)
        if len(others) < wanted:
            copy.lacks("too few recordings of other words", f"unknown, {split}: {len(others):,} of {wanted:,}")
        return sorted(others, key=lambda row: self._order(row["id"]))[:wanted]

    def _silence(self, split: str, commanded: int, copy: Copy) -> list[Row]:
        """Seconds of noise, at different places."""
        folder = self.path / NOISE
        wanted = _share(self.silence, commanded)
        if not wanted:
            return []
        begin, end = SHARES[split]
        cuts = [
            {
                "id": f"{NOISE}/{Path(file).name}@{cut / GRID:g}",
                "audio": file,
                "start": cut / GRID,
                "seconds": 1.0,
                "split": split,
                "keyword": "silence",
            }
            for file, seconds in self._noise(folder, copy)
            for cut in range(math.ceil(begin * seconds * GRID), math.floor((end * seconds - 1) * GRID) + 1)
        ]
        if len(cuts) < wanted:
            copy.lacks("too little noise to cut silence from", f"{NOISE}, {split}: {len(cuts):,} of {wanted:,} cuts")
        return sorted(cuts, key=lambda row: self._order(row["id"]))[:wanted]

    def _order(self, name: str) -> bytes:
        return hashlib.sha256(f"{self.seed}/{name}".encode()).digest()

    def _noise(self, folder: Path, copy: Copy) -> Iterable[tuple[str, float]]:
        """The files of noise and how many seconds each has: the headers of six files are read."""
        import soundfile

        if not folder.is_dir():
            return
        for file in files_below(folder, ".wav"):
            try:
                yield file, soundfile.info(file).duration
            except soundfile.LibsndfileError as error:
                copy.wrong("files of noise should be audio", f"{NOISE}/{Path(file).name}: {error}")

    def _official_test(self, copy: Copy) -> list[Row]:
        if not self.test_path:
            return []
        folders = {"_silence_": "silence", "_unknown_": "unknown", **{word: word for word in COMMANDS}}
        check_folder(f"{self.title}, test set of twelve classes", self.test_path, ("_silence_", "_unknown_"))
        rows: list[Row] = []
        for folder, label in folders.items():
            place = self.test_path / folder
            if not place.is_dir():
                copy.lacks("folders are missing", f"test set: {folder}")
                continue
            for file in files_below(place, ".wav"):
                name = Path(file).name
                speaker = SPEAKER.search(name) if label != "silence" else None
                word = label if label in COMMANDS else name.partition("_")[0]  # _unknown_/four_bfd26d6b_nohash_1.wav
                rows.append(
                    {
                        "id": f"test-set/{folder}/{name}",
                        "audio": file,
                        "speaker": speaker[1] if speaker else None,
                        "split": "test",
                        "keyword": label,
                        "text": word if word in WORDS else None,
                    }
                )
        copy.count("recordings of the test set of twelve classes", len(rows), TEST_SET)
        return rows


def _share(share: float, count: int) -> int:
    return math.ceil(round(share * count, 6))  # 10 % of 30 is 3, whatever binary fractions say.
