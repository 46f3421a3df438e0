"""GigaSpeech (Chen et al. 2021, arXiv 2106.06909; github.com/SpeechColab/GigaSpeech): audiobooks, podcasts, YouTube.

Layout: `GigaSpeech.json` at the top, which names long recordings (`audio/podcast/P0000/POD0000000001.opus`), their segments
from begin_time to end_time in seconds, and the subsets that each segment is in.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tasks.corpora.official import Copy, OfficialCorpus, files_below, table_of

if TYPE_CHECKING:
    import pandas as pd

HOURS = {"XS": 10, "S": 250, "M": 1_000, "L": 2_500, "XL": 10_000}
"""Of the training subsets, as the README of SpeechColab/GigaSpeech gives them; larger ones contain the smaller."""

SEGMENTS = {"DEV": 6_750, "TEST": 25_619}
"""Of the evaluation subsets, those without speech included, as in the data set's card on the Hugging Face hub."""

ROUNDED = 0.05
"""The published hours are round numbers: so far may a whole copy be from them."""

PUNCTUATION = {"<COMMA>", "<PERIOD>", "<QUESTIONMARK>", "<EXCLAMATIONPOINT>"}
"""Tags of text_tn that stand for punctuation. Every other (<SIL>, <MUSIC>, <NOISE>, <OTHER>) says what is not speech."""

ENTRY: dict[str, tuple[type, ...]] = {"aid": (str,), "path": (str,), "segments": (list,)}
SEGMENT: dict[str, tuple[type, ...]] = {
    "sid": (str,),
    "begin_time": (int, float),
    "end_time": (int, float),
    "subsets": (list,),
    "text_tn": (str,),
}
"""What is read of a recording and of a segment."""

TAG = re.compile(r"<[A-Z_]+>")

BETWEEN = re.compile(r"[,\s]*")
"""What lies between two entries of a JSON list."""

BLOCK = 1 << 22
"""Characters of the JSON read at a time; a recording with all its segments takes less, mostly."""

LONGEST = 1 << 27
"""Characters that no recording takes: what can't be read by then is damaged."""

log = logging.getLogger(__name__)


class GigaSpeechCorpus(OfficialCorpus):
    """GigaSpeech: English of many kinds, segments of long recordings. DEV and TEST are as published.

    text is text_tn without its tags. A segment that holds no speech is left out. Where the speaker isn't known (mostly), the
    recording stands for it, so that intervals count a recording as one.

    Attributes:
        subset: trained on.
    """

    title: ClassVar[str] = "GigaSpeech"
    landmarks: ClassVar[tuple[str, ...]] = ("GigaSpeech.json",)

    reader: Literal["gigaspeech"] = "gigaspeech"
    subset: Literal["XS", "S", "M", "L", "XL"] = "XL"

    def _table(self, copy: Copy) -> pd.DataFrame:
        splits = {f"{{{self.subset}}}": "train", "{DEV}": "dev", "{TEST}": "test"}
        rows: list[tuple[str, str, float, float, str, str, str]] = []
        segments: Counter[str] = Counter()
        hours: Counter[str] = Counter()
        tags: Counter[str] = Counter()
        silent = 0
        absent: Counter[str] = Counter()
        named = set()
        for recording in recordings(self.path / "GigaSpeech.json", copy):
            wanted = [
                (segment, splits[name])
                for segment in recording["segments"]
                for name in splits
                if name in segment["subsets"]
            ]
            path = os.path.normpath(self.path / recording["path"])
            named.add(path)
            if not path.startswith(f"{self.path}{os.sep}"):
                copy.wrong("audio should lie below the corpus", recording["path"])
                continue
            there = not wanted or os.path.isfile(path)  # noqa: PTH113
            for segment, split in wanted:
                segments[split] += 1
                start, seconds = segment["begin_time"], segment["end_time"] - segment["begin_time"]
                if not there:
                    absent[recording["path"]] += 1
                    continue
                words = segment["text_tn"].split()
                marks = [word for word in words if TAG.fullmatch(word)]
                tags.update(marks)
                hours[split] += seconds / 3600
                text = " ".join(word for word in words if word not in marks)
                if text:
                    speaker = str(segment.get("speaker") or "N/A")
                    speaker = recording["aid"] if speaker == "N/A" else speaker
                    # Milliseconds, as published; a difference of two doubles has more digits.
                    rows.append((segment["sid"], path, round(start, 3), round(seconds, 3), speaker, split, text))
                else:
                    silent += 1
        for name, count in absent.items():
            copy.lacks("transcripts without audio", f"{name} ({count} segments)")
        if (self.path / "audio").is_dir():
            for path in sorted(set(files_below(self.path / "audio", ".opus")) - named):
                copy.lacks("audio without transcripts", path)
        self._count(segments, hours, copy)
        copy.check()
        without = {tag: count for tag, count in tags.items() if tag not in PUNCTUATION}
        log.info("%s: %d segments hold no speech and are left out; tags: %s", copy.of, silent, without)
        columns = zip(*rows, strict=True) if rows else ((),) * 7
        names = ("id", "audio", "start", "seconds", "speaker", "split", "text")
        return table_of(dict(zip(names, columns, strict=True)), len(rows))

    def _count(self, segments: Counter[str], hours: Counter[str], copy: Copy) -> None:
        for name, official in SEGMENTS.items():
            copy.count(f"segments of {name}", segments[name.lower()], official)
        found, official = hours["train"], HOURS[self.subset]
        if found < official * (1 - ROUNDED):
            copy.lacks("less audio than published is there", f"{self.subset}: {found:.1f} of {official:,} hours")
        elif found > official * (1 + ROUNDED):
            do = "more audio than published is there: is it another version?"
            copy.wrong(do, f"{self.subset}: {found:.1f} hours, published are {official:,}")


def recordings(path: Path, copy: Copy) -> Iterator[dict[str, Any]]:
    """The entries of `audios` in GigaSpeech.json, one at a time: the file has gigabytes, which as objects take ten times that.

    json's own decoder, entry by entry, is as fast as ijson (about 100 MB/s both, a core) and is there anyway.
    """
    decoder = json.JSONDecoder()
    with path.open(encoding="utf-8") as file:
        text = ""
        while not (begun := re.search(r'"audios"\s*:\s*\[', text)):
            if not (block := file.read(BLOCK)):
                copy.wrong("the file should have a list `audios`: is it GigaSpeech.json as published?", str(path))
                return
            text += block
        text, at = text[begun.end() :], 0
        while True:
            at = BETWEEN.match(text, at).end()
            if text[at : at + 1] == "]":
                return
            try:
                entry, at = decoder.raw_decode(text, at)
            except ValueError:
                if len(text) - at > LONGEST or not (block := file.read(BLOCK)):
                    copy.wrong(
                        "the JSON ends early or is damaged: download it again", f"{path}: {text[at : at + 60]!r}"
                    )
                    return
                text, at = text[at:] + block, 0
                continue
            if not _is_read(entry, ENTRY, "recordings", copy):
                continue
            of = f"segments of {entry['aid']}"
            if not [one for one in entry["segments"] if not _is_read(one, SEGMENT, of, copy)]:  # each is looked at
                yield entry


def _is_read(entry: Any, keys: dict[str, tuple[type, ...]], what: str, copy: Copy) -> bool:
    """Whether an entry is an object with these keys; else the copy is told."""
    if isinstance(entry, dict) and all(isinstance(entry.get(key), kinds) for key, kinds in keys.items()):
        return True
    wrong = [key for key, kinds in keys.items() if not (isinstance(entry, dict) and isinstance(entry.get(key), kinds))]
    do = f"{what.split()[0]} should be objects with " + ", ".join(
        f"{key} ({'text' if kinds == (str,) else 'a list' if kinds == (list,) else 'a number'})"
        for key, kinds in keys.items()
    )
    copy.wrong(f"{do}: is it another version?", f"{what}: {', '.join(wrong)} in {str(entry)[:80]}")
    return False
