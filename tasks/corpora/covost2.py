"""CoVoST 2 (Wang et al. 2020, arXiv 2007.10310; github.com/facebookresearch/covost): translations of Common Voice.

Two folders: Common Voice 4.0 English (`clips/*.mp3`, `validated.tsv`: client_id, path, sentence, …), and the translations
(`covost_v2.en_de.tsv`, `covost_v2.en_zh-CN.tsv`: path, translation, split), which are joined by the name of the clip.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from orchestrator.errors import UserError, suggest
from tasks.corpora.official import Copy, OfficialCorpus, table_of

if TYPE_CHECKING:
    import pandas as pd

UTTERANCES = {"train": 289_430, "dev": 15_531, "test": 15_531}
"""Of English into any of the languages, as in the data set's card on the Hugging Face hub (facebook/covost2)."""

CODES = {"de": "de", "zh": "zh-CN"}
"""Our language → that of the names of files."""


class CoVoST2Corpus(OfficialCorpus):
    """CoVoST 2 over Common Voice 4.0: English speech with translations. text is the sentence that was read.

    Attributes:
        path: the folder of Common Voice's English, with `clips` and `validated.tsv`.
        translations: the folder of `covost_v2.en_….tsv`; None for the same.
        languages: of the translations: the columns translation_de, translation_zh.
    """

    title: ClassVar[str] = "Common Voice for CoVoST 2"
    landmarks: ClassVar[tuple[str, ...]] = ("validated.tsv", "clips")

    reader: Literal["covost2"] = "covost2"
    translations: Path | None = None
    languages: tuple[Literal["de", "zh"], ...] = Field(("de", "zh"), min_length=1)

    @field_validator("translations")
    @classmethod
    def _unfolded(cls, path: Path | None) -> Path | None:
        return path and path.expanduser().absolute()

    def _table(self, copy: Copy) -> pd.DataFrame:
        read = self._read(self.path / "validated.tsv", ("client_id", "path", "sentence"), copy)
        if not (self.path / "clips").is_dir():
            copy.wrong("the folder clips is not there; unpack it beside validated.tsv", str(self.path))
        folder = self.translations or self.path
        files = {language: folder / f"covost_v2.en_{CODES[language]}.tsv" for language in self.languages}
        translated = {one: self._read(path, ("path", "translation", "split"), copy) for one, path in files.items()}
        copy.check()
        table = self._once(read, "validated.tsv", copy)
        table["split"] = None
        for language, rows in translated.items():
            rows = self._once(rows, files[language].name, copy)
            # fairseq's preparation reads `train_covost` as train, and so on.
            split = rows["split"].str.removesuffix("_covost")
            for name in sorted(set(split) - UTTERANCES.keys()):
                copy.wrong("a split should be train, dev or test", f"{files[language].name}: {name or 'blank'}")
            self._count(language, split, table.index, copy)
            table[f"translation_{language}"] = rows["translation"].replace("", None)
            ours = split.reindex(table.index)
            for path in table.index[table["split"].notna() & ours.notna() & (table["split"] != ours)]:
                copy.wrong("languages should agree on the split", f"{path}: {table['split'][path]}, {ours[path]}")
            table["split"] = table["split"].fillna(ours)
        table = table[table["split"].notna()].sort_index()
        return self._recorded(table, copy)

    def _once(self, rows: pd.DataFrame, name: str, copy: Copy) -> pd.DataFrame:
        """The rows by their clips."""
        for path in rows.loc[rows["path"].duplicated(), "path"].unique():
            copy.wrong("a clip should be there once", f"{name}: {path}")
        return rows.drop_duplicates("path").set_index("path")

    def _count(self, language: str, split: pd.Series, known: pd.Index, copy: Copy) -> None:
        for name, official in UTTERANCES.items():
            copy.count(f"translations en→{language}, {name}", int((split == name).sum()), official)
        if lost := sorted(split.index.difference(known)):
            source = "CoVoST 2 was made from Common Voice 4.0, English"
            if len(lost) == len(split):
                do = f"none of the translated clips is in validated.tsv: {source}; which is this?"
                copy.wrong(do, f"en→{language}: {', '.join(lost[:3])}, …")
            else:
                for path in lost:
                    copy.lacks(f"translated clips are not in validated.tsv ({source})", path)

    def _recorded(self, table: pd.DataFrame, copy: Copy) -> pd.DataFrame:
        """The rows whose clip is there. Clips that nobody translated are as they should be: Common Voice has many."""
        with os.scandir(self.path / "clips") as entries:
            there = {entry.name for entry in entries}
        for path in table.index:
            if path not in there:
                copy.lacks("transcripts without audio", f"clips/{path}")
        table = table[table.index.isin(there)]
        rows = {
            "id": table.index.str.removesuffix(".mp3"),
            "audio": [str(self.path / "clips" / path) for path in table.index],
            "speaker": table["client_id"].to_numpy(),
            "split": table["split"].to_numpy(),
            "text": table["sentence"].replace("", None).to_numpy(),
        }
        ours = table[[f"translation_{language}" for language in self.languages]].astype(object)
        return table_of({**rows, **ours.where(ours.notna(), None).reset_index(drop=True)}, len(table))

    def _read(self, path: Path, columns: tuple[str, ...], copy: Copy) -> pd.DataFrame:
        """Columns of a table as CoVoST's own scripts read it: tabs, no quotes, a backslash before what isn't meant."""
        import csv

        import pandas as pd

        empty = pd.DataFrame(columns=list(columns), dtype=object)
        if not path.is_file():
            there = sorted(one.name for one in path.parent.glob("*.tsv")) if path.parent.is_dir() else []
            copy.wrong("tables are not there", f"{path} ({suggest(path.name, there)})")
            return empty
        try:
            found = pd.read_csv(
                path, sep="\t", dtype=object, na_filter=False, quoting=csv.QUOTE_NONE, escapechar="\\", encoding="utf-8"
            )
        except (ValueError, OSError) as error:  # pandas' ParserError and UnicodeDecodeError are ValueErrors
            raise UserError(f"{self.title}: {path} can't be read as a table: {error}") from error
        if lacking := [column for column in columns if column not in found]:
            came = ", ".join(found.columns)
            copy.wrong(
                "tables should have their columns; is it another version?", f"{path} lacks {lacking}, has {came}"
            )
            return empty
        return found[list(columns)]
