"""IEMOCAP: ten actors in five sessions of two, acted and improvised dialogues, cut into utterances.

Layout (`IEMOCAP_full_release`): `Session<n>/dialog/EmoEvaluation/<dialogue>.txt` has a line `[start - end] utterance
emotion [valence, activation, dominance]` for each utterance; `Session<n>/dialog/transcriptions/<dialogue>.txt` has
`utterance [start-end]: text`; `Session<n>/sentences/wav/<dialogue>/<utterance>.wav` is its audio.
torchaudio's reader of it passes over labels without audio in silence, knows no texts, and gives as speaker the actor
who wears the markers, who speaks half of the utterances only.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from orchestrator.errors import suggest
from tasks.corpora import folds
from tasks.corpora.corpus import frame
from tasks.corpora.official import Copy, OfficialCorpus, files_below

if TYPE_CHECKING:
    import pandas as pd

SESSIONS = ("Session1", "Session2", "Session3", "Session4", "Session5")

UTTERANCES = 10_039
"""In all sessions: 5,255 scripted, 4,784 improvised (Busso et al. 2008, doi 10.1007/s10579-008-9076-6)."""

FOUR_CLASSES = {"Session1": 1_085, "Session2": 1_023, "Session3": 1_151, "Session4": 1_031, "Session5": 1_241}
"""Utterances of the four classes with excitement as happiness, as they are commonly reported: 5,531 in all, 1,103 angry,
1,636 happy, 1,708 neutral, 1,084 sad. The paper has no such table."""

EMOTIONS = {"ang": "angry", "hap": "happy", "neu": "neutral", "sad": "sad"}
OTHERS = ("exc", "fru", "fea", "sur", "dis", "oth", "xxx")
"""Excited, frustrated, fearful, surprised, disgusted, other, and no agreement."""

LABEL = re.compile(r"\[[\d.]+ - [\d.]+\]\t(\S+)\t(\S+)\t")
TEXT = re.compile(r"(\S+) \[[\d.]+-[\d.]+\]:(.*)")
UTTERANCE = re.compile(r"(Ses0[1-5])[FM]_(impro|script)\w*_([FM])\w+")
"""Session, style, and who speaks; the letter after the session is who wears the markers."""

EVENT = re.compile(r"\[[A-Z_ ]+\]")
"""What is heard and not said: `[LAUGHTER]`, `[BREATHING]`, `[GARBAGE]`."""


class IemocapCorpus(OfficialCorpus):
    """IEMOCAP: four emotions and text. The five sessions are its folds, so no speaker is on two sides.

    A grid that names no `fold` tests on Session5, with Session4 as dev. A fold named `Session1` tests on it, with the
    next one as dev. Texts come without `[LAUGHTER]` and the like.

    Attributes:
        path: the folder that has `Session1` … `Session5`.
        merge_excited: whether excitement counts as happiness, as the field does; otherwise it is one of the others.
        style: of the dialogues that are used.
        others: whether utterances of other emotions are kept, without an emotion, for the tasks on text.
    """

    title: ClassVar[str] = "IEMOCAP"
    landmarks: ClassVar[tuple[str, ...]] = tuple(f"{session}/dialog/EmoEvaluation" for session in SESSIONS)

    reader: Literal["iemocap"] = "iemocap"
    merge_excited: bool = True
    style: Literal["all", "improvised", "scripted"] = "all"
    others: bool = False

    def _table(self, copy: Copy) -> pd.DataFrame:
        rows = [row for session in SESSIONS for row in self._session(session, copy)]
        copy.count("utterances", len(rows), UTTERANCES)
        for session, official in FOUR_CLASSES.items():
            found = sum(row["fold"] == session and row["code"] in (*EMOTIONS, "exc") for row in rows)
            copy.count(f"utterances of the four classes in {session}", found, official)
        used = [row for row in rows if self.style in ("all", row["style"]) and (row["emotion"] or self.others)]
        return frame({key: value for key, value in row.items() if key not in ("code", "style")} for row in used)

    def _session(self, session: str, copy: Copy) -> list[dict[str, Any]]:
        """Its utterances that have both a label and audio."""
        folder = self.path / session
        labels = _matches(folder / "dialog" / "EmoEvaluation", LABEL, copy)
        texts = _matches(folder / "dialog" / "transcriptions", TEXT, copy)
        wavs = folder / "sentences" / "wav"
        if not wavs.is_dir():
            copy.lacks("folders are missing", f"{session}/sentences/wav")
        recorded: dict[str, str] = {}
        for file in files_below(wavs, ".wav") if wavs.is_dir() else ():
            if Path(file).stem in recorded:
                copy.wrong("recordings should be there once", f"{session}: {Path(file).name}")
            recorded[Path(file).stem] = file
        both = copy.paired(labels, recorded, session)
        for name in sorted(both - set(texts)):
            copy.lacks("texts are missing", f"{session}/dialog/transcriptions: {name}")
        rows = (self._row(session, name, labels[name], texts.get(name), recorded[name], copy) for name in sorted(both))
        return [row for row in rows if row]

    def _row(
        self, session: str, name: str, code: str, text: str | None, audio: str, copy: Copy
    ) -> dict[str, Any] | None:
        parts = UTTERANCE.fullmatch(name)
        if not parts or not parts[1].endswith(session[-1]):
            copy.wrong(f"names should be like Ses0{session[-1]}F_impro01_F000", f"{session}: {name}")
            return None
        if code not in (*EMOTIONS, *OTHERS):
            copy.wrong("emotions should be of IEMOCAP's", f"{name}: '{code}': {suggest(code, (*EMOTIONS, *OTHERS))}")
            return None
        return {
            "id": name,
            "audio": audio,
            "speaker": f"{parts[1]}{parts[3]}",
            "split": folds.split(session, SESSIONS),
            "fold": session,
            "text": " ".join(EVENT.sub(" ", text).split()) or None if text else None,
            "emotion": EMOTIONS.get("hap" if code == "exc" and self.merge_excited else code),
            "code": code,
            "style": {"impro": "improvised", "script": "scripted"}[parts[2]],
        }


def _matches(folder: Path, pattern: re.Pattern[str], copy: Copy) -> dict[str, str]:
    """Utterance → what is said about it, from the lines of the files of a folder that have the pattern."""
    place = "/".join(folder.parts[-3:])
    if not folder.is_dir():
        copy.lacks("folders are missing", place)
        return {}
    found: dict[str, str] = {}
    for file in sorted(folder.glob("[!.]*.txt")):
        for line in file.read_text("utf-8", errors="replace").splitlines():
            if not (match := pattern.match(line)):
                continue
            name, said = match[1], match[2].strip()
            if found.setdefault(name, said) != said:
                copy.wrong("utterances should occur once", f"{place}/{file.name}: {name}")
    return found
