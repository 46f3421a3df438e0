"""RAVDESS, speech, audio only: 24 actors, two sentences, eight emotions.

Layout (zenodo.org/records/1188976, `Audio_Speech_Actors_01-24.zip`):
`Actor_<nn>/<modality>-<channel>-<emotion>-<intensity>-<statement>-<repetition>-<actor>.wav`, two digits each. The zip
file of songs has folders of the same names; its files (channel 02) are passed over.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from tasks.corpora import folds
from tasks.corpora.corpus import frame
from tasks.corpora.official import Copy, OfficialCorpus, files_below

if TYPE_CHECKING:
    import pandas as pd

ACTORS = tuple(f"{number:02d}" for number in range(1, 25))
RECORDINGS = 60
"""Of each actor: 1,440 in all (doi 10.1371/journal.pone.0196391)."""

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
STATEMENTS = ("Kids are talking by the door.", "Dogs are sitting by the door.")
NAME = re.compile(r"03-(0[12])-(0[1-8])-0[12]-(0[12])-0[12]-(\d\d)\.wav")
"""Channel, emotion, statement, actor."""

FOLDS = ("1", "2", "3", "4", "5")

log = logging.getLogger(__name__)


class RavdessCorpus(OfficialCorpus):
    """RAVDESS, speech: eight emotions and text. Five folds, `1` to `5`, of actors dealt in a seeded order, men and women
    evenly (no official ones exist).

    A grid that names no `fold` tests on 5, with 4 as dev. A fold that is named tests, with the next one as dev.

    Attributes:
        path: the folder that has `Actor_01` … `Actor_24`.
        merge_calm: whether calm counts as neutral, which leaves seven emotions.
        fold_seed: another one deals the actors otherwise.
    """

    title: ClassVar[str] = "RAVDESS"
    landmarks: ClassVar[tuple[str, ...]] = tuple(f"Actor_{actor}" for actor in ACTORS)

    reader: Literal["ravdess"] = "ravdess"
    merge_calm: bool = False
    fold_seed: int = Field(0, ge=0)

    def _table(self, copy: Copy) -> pd.DataFrame:
        # The actors of the whole corpus, so that a partial copy has the same folds. Odd numbers are men.
        fold = folds.dealt(ACTORS[::2], ACTORS[1::2], folds=len(FOLDS), seed=self.fold_seed)
        rows: list[dict[str, Any]] = []
        for actor in ACTORS:
            folder = self.path / f"Actor_{actor}"
            if not folder.is_dir():
                copy.lacks("folders are missing", folder.name)
                continue
            spoken = self._spoken(folder, copy)
            copy.count(f"recordings of {folder.name}", len(spoken), RECORDINGS)
            rows += [row | {"fold": fold[actor], "split": folds.split(fold[actor], FOLDS)} for row in spoken]
        return frame(rows)

    def _spoken(self, folder: Path, copy: Copy) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        songs = 0
        for file in map(Path, files_below(folder, ".wav")):
            match = NAME.fullmatch(file.name)
            if not match or f"Actor_{match[4]}" != folder.name:
                copy.wrong(
                    "recordings should be named like 03-01-05-01-02-01-12.wav in Actor_12", f"{folder.name}/{file.name}"
                )
                continue
            channel, emotion, statement, actor = match.groups()
            if channel == "02":
                songs += 1
                continue
            name = EMOTIONS[int(emotion) - 1]
            rows.append(
                {
                    "id": file.stem,
                    "audio": str(file),
                    "speaker": actor,
                    "text": STATEMENTS[int(statement) - 1],
                    "emotion": "neutral" if name == "calm" and self.merge_calm else name,
                }
            )
        if songs:
            log.warning("%s: %d songs in %s are passed over", copy.of, songs, folder.name)
        return rows
