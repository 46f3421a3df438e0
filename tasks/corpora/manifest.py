"""The manifest corpus: a table of the user's own utterances (CSV, TSV, JSON lines or Parquet) beside their audio.

Nothing is guessed quietly: what can't be used is an error, and all errors of a manifest come at once with their lines.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from orchestrator.errors import suggest
from tasks.corpora import splits, tables
from tasks.corpora.corpus import ANNOTATIONS, COLUMNS, LABELS, Corpus, frame
from tasks.corpora.problems import Problems

if TYPE_CHECKING:
    import pandas as pd

Scalar = str | bool | int | float
OurRow = dict[str, Any]

NOT_TEXT = re.compile("[\0\ud800-\udfff]")
"""NUL, and lone surrogates, which is how bytes that are no UTF-8 arrive."""

log = logging.getLogger(__name__)


class SeededSplit(BaseModel):
    """A split of a table that has none.

    Attributes:
        by: what is never on two sides. Utterances without a speaker are each on their own.
        dev, test: shares of the utterances.
        seed: other seeds split otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["speaker", "utterance"] = "speaker"
    dev: float = Field(0.1, gt=0, lt=1)
    test: float = Field(0.1, gt=0, lt=1)
    seed: int = 0

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.dev + self.test >= 1:
            raise ValueError(f"dev ({self.dev:g}) and test ({self.test:g}) leave nothing to train on")
        return self


class ManifestCorpus(Corpus):
    """Utterances out of a table.

    Attributes:
        path: of the table, ending in .csv, .tsv, .jsonl, .ndjson or .parquet.
        root: the folder that relative audio paths start from; None for the table's own folder.
        allow_outside: whether audio may lie outside that folder (absolute paths, `..`).
        columns: our column → the file's column; null for "don't use it". A column that isn't named here is the one of
            the same name, if the file has it. `seconds` counts beside `start` only: the length of a segment.
        where: the file's column → the value, or one of the values, that a row must have to be used.
        split: the file's column with the split, or a rule; None for the column `split`.
        dev_from: where there is no dev split, what it is taken from: by speaker where speakers are known.
        dev_share: of the rows of that split.
        dev_seed: another one takes others.
    """

    reader: Literal["manifest"] = "manifest"
    path: Path
    root: Path | None = None
    allow_outside: bool = False
    columns: dict[str, str | None] = Field(default_factory=dict)
    where: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict)
    split: str | SeededSplit | None = None
    dev_from: Literal["train"] | None = None
    dev_share: float = Field(0.1, gt=0, lt=1)
    dev_seed: int = 0

    @field_validator("columns")
    @classmethod
    def _ours(cls, columns: dict[str, str | None]) -> dict[str, str | None]:
        unknown = [f"there is no column '{c}' to fill: {suggest(c, COLUMNS)}" for c in columns if not _is_ours(c)]
        if unknown:
            raise ValueError("; ".join(unknown))
        return columns

    def table(self) -> pd.DataFrame:
        problems = Problems(f"the manifest {self.path}")
        table = tables.read(self.path.expanduser().absolute(), problems)
        names = self._names(table.columns, problems)
        if "audio" not in names:
            problems.check()
        selected = [row for row in table.rows if self._selected(row)]
        if not selected and not (set(self.where) - set(table.columns)):
            problems.add(self._nothing(table))
        rows = [ours for row in selected if (ours := self._row(row, names, problems))]
        if rows:
            self._check_blanks(rows, names, problems)
            self._check_ids(rows, "id" in names, problems)
            self._check_files(rows, problems)
            self._set_splits(rows, "split" in names, problems)
            _check_labels(rows, problems)
        problems.check()
        return frame({key: value for key, value in row.items() if key != "place"} for row in rows)

    def _names(self, columns: tuple[str, ...], problems: Problems) -> dict[str, str]:
        """Our column → the file's column, for those that are there."""
        asked = dict(self.columns)
        if isinstance(self.split, str):
            asked["split"] = self.split
        for ours, theirs in [*asked.items(), *((None, theirs) for theirs in self.where)]:
            if theirs is not None and theirs not in columns:
                use = f"for '{ours}'" if ours else "in where"
                problems.add(f"there is no column '{theirs}' (named {use}): {suggest(theirs, columns)}")
        names = {c: c for c in columns if _is_ours(c) and c not in asked}
        names |= {ours: theirs for ours, theirs in asked.items() if theirs in columns}
        if "audio" not in names and asked.get("audio") is None:
            problems.add(
                f"no column says where the audio is; name it: columns: {{audio: …}}. The file has: {', '.join(columns)}"
            )
        if not any(c in ANNOTATIONS or c.startswith("translation_") for c in {*names, *asked}):
            problems.add(f"no column says what was said; name one of {', '.join(ANNOTATIONS)} under columns")
        if "start" not in names:
            names.pop("seconds", None)
        return names

    def _selected(self, row: tables.Row) -> bool:
        return all(row.cells.get(column) in _wanted(value) for column, value in self.where.items())

    def _nothing(self, table: tables.Table) -> str:
        if not table.rows:
            return "it has no rows"
        hints = [
            f"'{value}' is never in '{column}' ({suggest(value, sorted(found)[:30])})"
            for column, values in self.where.items()
            for found in [{row.cells.get(column) or "" for row in table.rows}]
            for value in _wanted(values)
            if value not in found
        ]
        return f"no row is left by where; {'; '.join(hints) or 'its values never occur in the same row'}"

    def _row(self, row: tables.Row, names: dict[str, str], problems: Problems) -> OurRow | None:
        ours: OurRow = {"place": row.place}
        for column, theirs in names.items():
            cell = (row.cells.get(theirs) or "").strip()
            if NOT_TEXT.search(cell):
                shown = cell[:30].encode("ascii", "backslashreplace").decode()
                problems.add("text should be Unicode, saved as UTF-8, without NUL", f"{row.place}, '{theirs}': {shown}")
                return None
            ours[column] = cell or None
        for column in ("start", "seconds"):
            if column in names:
                ours[column] = _number(ours[column], column, row.place, problems)
        written = ours.get("audio")
        if written is None:
            if "audio" in names:
                problems.add("the audio is not named", row.place)
            return ours
        ours.setdefault("id", f"{written}@{ours['start']:g}" if ours.get("start") is not None else written)
        ours["audio"] = self._inside(written, row.place, problems)
        return ours

    @cached_property
    def _folder(self) -> str:
        return os.path.normpath((self.root or self.path.parent).expanduser().absolute())

    def _inside(self, written: str, place: str, problems: Problems) -> str | None:
        """The absolute path of a recording. A path out of data must not lead out of its folder unless told so."""
        # By the letters of the path: links that the user made inside the folder are the user's own.
        path = os.path.normpath(os.path.join(self._folder, written))  # noqa: PTH118 (pathlib costs minutes a million)
        if not self.allow_outside and not path.startswith(self._folder.rstrip(os.sep) + os.sep):
            do = f"audio should lie under {self._folder}; else set root, or allow_outside: true"
            problems.add(do, f"{place}: {written}")
            return None
        return path

    def _check_blanks(self, rows: list[OurRow], names: dict[str, str], problems: Problems) -> None:
        for column in names:
            blank = [row["place"] for row in rows if row.get(column) is None]
            if column == "id":
                for place in blank:
                    problems.add("the id is blank", place)
            elif column in self.columns and column not in ("audio", "split", "start", "seconds") and blank:
                which = f"'{names[column]}' ({column})"
                if len(blank) == len(rows):
                    problems.add(f"the column {which} is blank in every row that is used; leave it out of columns")
                else:
                    log.warning("%s: %s is blank in %d of %d rows", self.path, which, len(blank), len(rows))

    def _check_ids(self, rows: list[OurRow], given: bool, problems: Problems) -> None:
        places: dict[str, list[str]] = {}
        for row in rows:
            if row.get("id"):
                places.setdefault(row["id"], []).append(row["place"])
        do = (
            "make them differ"
            if given
            else "several rows name the same audio: name a column for id, or start and seconds"
        )
        for name, where in places.items():
            if len(where) > 1:
                problems.add(f"ids should occur once; {do}", f"{name} ({', '.join(where[:5])})")

    def _check_files(self, rows: list[OurRow], problems: Problems) -> None:
        paths = list(dict.fromkeys(row["audio"] for row in rows if row.get("audio")))
        with ThreadPoolExecutor(16) as pool:  # A file server answers many questions at once.
            missing = {path for path, there in zip(paths, pool.map(os.path.isfile, paths), strict=True) if not there}
        for row in rows:
            if row.get("audio") in missing:
                problems.add("audio files are missing; is root right?", f"{row['place']}: {row['audio']}")

    def _set_splits(self, rows: list[OurRow], given: bool, problems: Problems) -> None:
        if isinstance(self.split, SeededSplit):
            rule = self.split
            for row in rows:
                row["split"] = None
            if rule.by == "speaker" and not any(row.get("speaker") for row in rows):
                problems.add("a split by speaker needs a column for speaker; name it, or say by: utterance")
                return
            _cut(rows, rule.by, {"test": rule.test, "dev": rule.dev}, rule.seed)
        elif given:
            for row in rows:
                found = row["split"]
                row["split"] = splits.named(found or "")
                if row["split"] is None:
                    problems.add("a split should be train, dev, test or test-…", f"{row['place']}: {found or 'blank'}")
        else:
            problems.add(
                "no column says the split; name one, or say split: {by: speaker, dev: 0.1, test: 0.1, seed: 0}"
            )
            return
        if any(row["split"] is None for row in rows):
            return
        if self.dev_from and not any(row["split"] == "dev" for row in rows):
            train = [row for row in rows if row["split"] == self.dev_from]
            speakers = {row.get("speaker") for row in train}
            _cut(train, "speaker" if len(speakers) > 1 else "utterance", {"dev": self.dev_share}, self.dev_seed)
        there = {row["split"] for row in rows}
        for name in ("train", "dev", "test"):
            if not any(split.startswith(name) for split in there):
                do = (
                    "say dev_from: train, to take it from the training split"
                    if name == "dev"
                    else "see split and where"
                )
                problems.add(f"the split '{name}' is empty ({do}); there is: {', '.join(sorted(there))}")


def _check_labels(rows: list[OurRow], problems: Problems) -> None:
    for column in LABELS:
        known = sorted({row[column] for row in rows if row.get("split") == "train" and row.get(column)})
        listed = ", ".join(known[:20]) + (f", and {len(known) - 20} more" if len(known) > 20 else "")
        for row in rows:
            label, split = row.get(column), row.get("split")
            if label and split not in ("train", None) and label not in known:
                problems.add(
                    f"a label of '{column}' is never in train, so nobody can learn it; train has: "
                    f"{listed or 'none'}. Mend it, or say columns: {{{column}: null}}",
                    f"{row['place']} ({split}): {label}",
                )


def _cut(rows: list[OurRow], by: str, shares: dict[str, float], seed: int) -> None:
    alone = [f"utterance {row.get('id')}" for row in rows]
    groups = [f"speaker {row['speaker']}" if row.get("speaker") else one for row, one in zip(rows, alone, strict=True)]
    for row, split in zip(rows, splits.seeded(groups if by == "speaker" else alone, shares, seed), strict=True):
        row["split"] = split


def _is_ours(column: str) -> bool:
    return column in COLUMNS or column.startswith("translation_")


def _wanted(value: Scalar | list[Scalar]) -> Iterable[str | None]:
    return [tables.text(one) for one in (value if isinstance(value, list) else [value])]


def _number(cell: str | None, column: str, place: str, problems: Problems) -> float | None:
    if cell is None:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (0 < value < math.inf or (value == 0 and column == "start")):
        problems.add(
            f"'{column}' should be a number of seconds, {'0 or more' if column == 'start' else 'above 0'}",
            f"{place}: {cell}",
        )
        return None
    return value
