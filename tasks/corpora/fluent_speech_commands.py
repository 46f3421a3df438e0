"""Fluent Speech Commands: commands to a smart home, with an action, an object and a location.

Layout (fluent.ai, `fluent_speech_commands_dataset`): `data/train_data.csv`, `valid_data.csv`, `test_data.csv` with the
columns path, speakerId, transcription, action, object, location; `wavs/speakers/<speaker>/<name>.wav`.
torchaudio's reader of it wants the folder to keep its first name, and neither names a bad line nor a missing file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tasks.corpora import tables
from tasks.corpora.corpus import frame
from tasks.corpora.official import Copy, OfficialCorpus, files_below
from tasks.corpora.problems import Problems

if TYPE_CHECKING:
    import pandas as pd

UTTERANCES = {"train": 23_132, "valid": 3_118, "test": 3_793}
"""Of each split (arXiv 1904.03670): 30,043 in all."""

SPEAKERS = {"train": 77, "valid": 10, "test": 10}
"""Of each split (arXiv 1904.03670): 97 in all."""

INTENTS = 31
"""Different combinations of action, object and location (arXiv 1904.03670)."""

SPLITS = {"train": "train", "valid": "dev", "test": "test"}
COLUMNS = ("path", "speakerId", "transcription", "action", "object", "location")


class FluentSpeechCommandsCorpus(OfficialCorpus):
    """Fluent Speech Commands: intent (`action_object_location`) and text, with the official splits (by speaker).

    Attributes:
        path: the folder that has `data` and `wavs`.
    """

    title: ClassVar[str] = "Fluent Speech Commands"
    landmarks: ClassVar[tuple[str, ...]] = tuple(f"data/{name}_data.csv" for name in SPLITS)

    reader: Literal["fluent_speech_commands"] = "fluent_speech_commands"

    def _table(self, copy: Copy) -> pd.DataFrame:
        rows = [row for name in SPLITS for row in self._named(name, copy)]
        wavs = self.path / "wavs"
        recorded = files_below(wavs, ".wav") if wavs.is_dir() else ()
        both = copy.paired(
            [row["id"] for row in rows], [file.removeprefix(f"{self.path}{os.sep}") for file in recorded]
        )
        rows = [row for row in rows if row["id"] in both]
        copy.count("intents", len({row["intent"] for row in rows}), INTENTS)
        taught = {row["intent"] for row in rows if row["split"] == "train"}
        for row in rows:
            if row["intent"] not in taught:
                copy.lacks("intents that nobody can learn: they are never in train", f"{row['id']}: {row['intent']}")
        return frame(rows)

    def _named(self, name: str, copy: Copy) -> list[dict[str, Any]]:
        """The rows of a file, whether their audio is there or not."""
        file = self.path / "data" / f"{name}_data.csv"
        if not file.is_file():
            copy.lacks("files are missing", f"data/{file.name} ({UTTERANCES[name]:,} utterances)")
            return []
        problems = Problems(str(file))
        table = tables.read(file, problems)
        for column in sorted(set(COLUMNS) - set(table.columns)):
            problems.add(f"there should be the columns {', '.join(COLUMNS)}", f"no '{column}'")
        problems.check()
        rows = [row for one in table.rows if (row := self._row(one, file.name, SPLITS[name], copy))]
        copy.count(f"utterances of {name}", len(rows), UTTERANCES[name])
        copy.count(f"speakers of {name}", len({row["speaker"] for row in rows}), SPEAKERS[name])
        return rows

    def _row(self, row: tables.Row, file: str, split: str, copy: Copy) -> dict[str, Any] | None:
        cells = {column: row.cells[column] for column in COLUMNS}
        blank = [column for column, cell in cells.items() if cell is None]
        if blank:
            copy.wrong("cells should not be blank", f"{file}, {row.place}: {', '.join(blank)}")
            return None
        name = os.path.normpath(str(cells["path"]))
        if Path(name).parts[:1] != ("wavs",):
            copy.wrong("paths should lie under wavs", f"{file}, {row.place}: {cells['path']}")
            return None
        return {
            "id": name,
            "audio": str(self.path / name),
            "speaker": cells["speakerId"],
            "split": split,
            "text": cells["transcription"],
            "intent": "_".join(str(cells[column]) for column in ("action", "object", "location")),
        }
