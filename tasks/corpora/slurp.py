"""SLURP: commands to a home assistant, each spoken by several people, near a microphone (headset) and far from one.

Layout (github.com/pswietojanski/slurp, README.md and scripts/download_audio.sh): `dataset/slurp/` has `train.jsonl`,
`devel.jsonl`, `test.jsonl` and `train_synthetic.jsonl`, one sentence a line with its recordings, and `metadata.json`
with who spoke them; `audio/slurp_real/` and `audio/slurp_synth/` have the recordings, as FLAC.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, Field, ValidationError

from orchestrator.errors import suggest
from tasks.corpora.corpus import frame
from tasks.corpora.official import Copy, OfficialCorpus, files_below

if TYPE_CHECKING:
    import pandas as pd

RECORDINGS = {"train": 50_628, "devel": 8_690, "test": 13_078, "train_synthetic": 69_253}
"""Recordings named in each file. devel and test: counted in the files of the repository (commit 8eb1654). train and
train_synthetic: as recipes report them; copies on the Hugging Face hub have 50.6 and 69.3 thousand rows."""

SENTENCES = {"train": 11_514, "devel": 2_033, "test": 2_974}
"""Lines of each file. devel and test: counted as above; 16,521 in all (arXiv 2011.13205)."""

SPLITS = {"train": "train", "devel": "dev", "test": "test", "train_synthetic": "train"}

SCENARIOS = (
    "alarm audio calendar cooking datetime email general iot lists music news play qa recommendation social takeaway "
    "transport weather"
).split()
"""All 18 (arXiv 2011.13205; their names as devel and test have them)."""

HEADSET = "-headset.flac"
"""How the names of recordings from the near microphone end; all others are from a far one."""

log = logging.getLogger(__name__)


class _Recording(BaseModel):
    file: str = Field(pattern=r"^[^/\\\x00]+\.flac$")


class _Entry(BaseModel):
    """What is read of a line."""

    slurp_id: int | str | None = None
    sentence: str
    scenario: str = Field(min_length=1)
    action: str = Field(min_length=1)
    recordings: list[_Recording]


class SlurpCorpus(OfficialCorpus):
    """SLURP: intent (`scenario_action`) and text of commands to a home assistant; a row is a recording.

    The field `intent` of the files is not used: it differs from scenario and action in about one line of a hundred.
    All recordings are used, whatever a recogniser made of them (the fields `wer` and `status`), as in the paper.

    Attributes:
        path: the folder that has `dataset` and `audio`.
        microphone: which recordings are used, in every split.
        test_by_microphone: whether there are two test sets, `test-headset` and `test-far`, in place of `test`.
        synthetic: whether synthesised speech is added to the training split.
    """

    title: ClassVar[str] = "SLURP"
    landmarks: ClassVar[tuple[str, ...]] = tuple(f"dataset/slurp/{name}.jsonl" for name in SPLITS)

    reader: Literal["slurp"] = "slurp"
    microphone: Literal["all", "headset", "far"] = "all"
    test_by_microphone: bool = False
    synthetic: bool = False

    def _table(self, copy: Copy) -> pd.DataFrame:
        speakers = self._speakers(copy)
        rows: list[dict[str, Any]] = []
        for folder, names in {"slurp_real": ("train", "devel", "test"), "slurp_synth": ("train_synthetic",)}.items():
            if folder == "slurp_real" or self.synthetic:
                named = [row for name in names for row in self._named(name, folder, speakers, copy)]
                rows += self._recorded(folder, named, copy)
        rows = [row for row in rows if self.microphone in ("all", row["microphone"])]
        taught = {row["intent"] for row in rows if row["split"] == "train"}
        if strange := [row["intent"] for row in rows if row["intent"] not in taught]:
            names = ", ".join(sorted(set(strange)))
            log.warning("%s: %d recordings have an intent that is never in train: %s", copy.of, len(strange), names)
        return frame({key: value for key, value in row.items() if key != "microphone"} for row in rows)

    def _named(self, name: str, folder: str, speakers: dict[str, str], copy: Copy) -> list[dict[str, Any]]:
        """The rows of a file, whether their audio is there or not."""
        file = self.path / "dataset" / "slurp" / f"{name}.jsonl"
        if not file.is_file():
            copy.lacks("files are missing", f"dataset/slurp/{name}.jsonl ({RECORDINGS[name]:,} recordings)")
            return []
        entries = list(_entries(file, copy))
        for entry in entries:
            if entry.scenario not in SCENARIOS:
                copy.wrong("scenarios should be of SLURP's 18", f"{file.name}: {suggest(entry.scenario, SCENARIOS)}")
        rows = [
            self._row(entry, one.file, folder, SPLITS[name], speakers) for entry in entries for one in entry.recordings
        ]
        if name in SENTENCES:
            copy.count(f"sentences of {name}", len(entries), SENTENCES[name])
        copy.count(f"recordings of {name}", len(rows), RECORDINGS[name])
        return rows

    def _row(self, entry: _Entry, file: str, folder: str, split: str, speakers: dict[str, str]) -> dict[str, Any]:
        microphone = "headset" if file.endswith(HEADSET) else "far"
        return {
            "id": f"{folder}/{file}",
            "audio": f"{self.path}/audio/{folder}/{file}",
            "speaker": speakers.get(file) if folder == "slurp_real" else None,
            "split": f"test-{microphone}" if split == "test" and self.test_by_microphone else split,
            "text": entry.sentence.strip() or None,
            "intent": f"{entry.scenario}_{entry.action}",
            "microphone": microphone,
        }

    def _recorded(self, folder: str, rows: list[dict[str, Any]], copy: Copy) -> list[dict[str, Any]]:
        """The rows whose audio is there, each recording once."""
        place = self.path / "audio" / folder
        there: set[str] = set()
        if place.is_dir():
            there = {file.removeprefix(f"{place.parent}{os.sep}") for file in files_below(place, ".flac")}
        else:
            copy.lacks("folders are missing", f"audio/{folder}")
        named: dict[str, dict[str, Any]] = {}
        for row in rows:
            if row["id"] in named:
                copy.wrong("recordings should belong to one sentence", row["id"])
            named[row["id"]] = row
        surplus = there - set(named)
        if surplus and set(named) <= there:
            # Everything that the files name is there: recordings beyond that change no row.
            log.warning(
                "%s: %d recordings in audio/%s have no transcript and are not used", copy.of, len(surplus), folder
            )
            there -= surplus
        both = copy.paired(named, there)
        return [row for name, row in named.items() if name in both]

    def _speakers(self, copy: Copy) -> dict[str, str]:
        """Recording → its speaker (`FO-488`: sex, whether English is their first language, number)."""
        file = self.path / "dataset" / "slurp" / "metadata.json"
        if not file.is_file():
            copy.lacks("speakers are not known without it", "dataset/slurp/metadata.json")
            return {}
        try:
            known = json.loads(file.read_text("utf-8"))
            found = {
                name: one["usrid"]
                for entry in known.values()
                for name, one in entry["recordings"].items()
                if isinstance(one.get("usrid"), str)
            }
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            copy.wrong(f"metadata.json can't be read ({type(error).__name__}: {error}); is it whole?")
            return {}
        return found


def _entries(file: Path, copy: Copy) -> Iterator[_Entry]:
    with file.open(encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield _Entry.model_validate_json(line)
            except (ValidationError, UnicodeEncodeError) as error:
                said = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "no UTF-8"}
                where = ".".join(map(str, said["loc"]))
                copy.wrong(
                    "every line should have a sentence, a scenario, an action, and recordings whose files are names "
                    "that end in .flac",
                    f"{file.name}, line {number}: {where} {said['msg']}",
                )
