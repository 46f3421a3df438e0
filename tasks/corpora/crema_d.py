"""CREMA-D: 91 actors, twelve sentences, six emotions.

Layout (github.com/CheyneyComputerScience/CREMA-D, README.md): `AudioWAV/<actor>_<sentence>_<emotion>_<level>.wav`. The
repository keeps audio in Git LFS: a copy without it has text stubs in place of audio. `1076_MTI_SAD_XX.wav` is known to
have no sound; it is left out when recordings are indexed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from tasks.corpora import folds
from tasks.corpora.corpus import frame
from tasks.corpora.official import Copy, OfficialCorpus, files_below

if TYPE_CHECKING:
    import pandas as pd

RECORDINGS = {"anger": 1_271, "disgust": 1_271, "fear": 1_271, "happy": 1_271, "neutral": 1_087, "sad": 1_271}
"""Of each emotion: 7,442 in all (README.md, and the names of the files of the repository)."""

ACTORS = tuple(str(number) for number in range(1001, 1092))
EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}

SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}

NAME = re.compile(rf"(\d{{4}})_({'|'.join(SENTENCES)})_({'|'.join(EMOTIONS)})_(LO|MD|HI|XX)\.wav")
FOLDS = ("1", "2", "3", "4", "5")
STUB_BYTES = 200
"""A stub of Git LFS is smaller than this; a recording of a second has over 30,000 bytes."""


class CremaDCorpus(OfficialCorpus):
    """CREMA-D: six emotions and text. Five folds, `1` to `5`, of actors dealt in a seeded order (no official ones exist).

    A grid that names no `fold` tests on 5, with 4 as dev. A fold that is named tests, with the next one as dev.

    Attributes:
        path: the folder that has `AudioWAV`.
        fold_seed: another one deals the actors otherwise.
    """

    title: ClassVar[str] = "CREMA-D"
    landmarks: ClassVar[tuple[str, ...]] = ("AudioWAV",)

    reader: Literal["crema_d"] = "crema_d"
    fold_seed: int = Field(0, ge=0)

    def _table(self, copy: Copy) -> pd.DataFrame:
        rows = [row for file in files_below(self.path / "AudioWAV", ".wav") if (row := _row(Path(file), copy))]
        for emotion, official in RECORDINGS.items():
            copy.count(f"recordings of {emotion}", sum(row["emotion"] == emotion for row in rows), official)
        copy.count("actors", len({row["speaker"] for row in rows}), len(ACTORS))
        # The actors of the whole corpus, so that a partial copy has the same folds.
        fold = folds.dealt(ACTORS, folds=len(FOLDS), seed=self.fold_seed)
        return frame(
            row | {"fold": fold[row["speaker"]], "split": folds.split(fold[row["speaker"]], FOLDS)} for row in rows
        )


def _row(file: Path, copy: Copy) -> dict[str, Any] | None:
    match = NAME.fullmatch(file.name)
    if not match or match[1] not in ACTORS:
        copy.wrong("recordings should be named like 1001_DFA_ANG_XX.wav, with codes of the README", file.name)
        return None
    if file.stat().st_size < STUB_BYTES:
        copy.lacks("recordings are stubs of Git LFS (`git lfs pull` gets them) or cut off", file.name)
        return None
    actor, sentence, emotion, _ = match.groups()
    return {
        "id": file.stem,
        "audio": str(file),
        "speaker": actor,
        "text": SENTENCES[sentence],
        "emotion": EMOTIONS[emotion],
    }
