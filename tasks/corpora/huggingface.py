"""Any audio set of Hugging Face `datasets`, from disk or from the cache of the hub: nothing is downloaded, no code is run.

Read with pyarrow alone: `datasets` (5.2) encodes what it reads from other layouts with torchcodec, even undecoded, and
copies Parquet into a cache of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from orchestrator.errors import UserError
from tasks.corpora import huggingface_layout as layout
from tasks.corpora import splits, unpacking
from tasks.corpora.corpus import Corpus
from tasks.corpora.manifest import ManifestCorpus, Scalar, SeededSplit
from tasks.corpora.official import Copy

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = ("columns", "where", "split", "dev_from", "dev_share", "dev_seed")
"""Settings that mean what they mean for a manifest."""

LIMITS = tuple(Corpus.model_fields.keys() - {"reader"})


class HuggingFaceCorpus(Corpus):
    """Utterances out of a Hugging Face data set: its recordings are unpacked once, then it is read as a manifest is.

    Numbers of labels (`ClassLabel`) are their names. The column with the audio is found by its type. Where there are
    several splits, the column `split` has their names.

    Attributes:
        path: a folder of `Dataset.save_to_disk`, or a copy of a repository with Parquet files.
        hub: in place of path, the name of a data set (`owner/name`) that is in the hub's cache on this machine.
        revision: of the data set in the cache: a branch, a tag or a commit.
        config: the part of the data set, where it has several.
        splits: its split → ours; those that aren't named are left out. None for all, by their names.
        unpacked: where recordings are unpacked to (every machine of a cluster must see it); None for `<path>-unpacked`.
        partial: whether it may lack some of its files.
        allow_outside: whether recordings that are named by paths, and are no cells, may lie outside the folder.
        columns, where, split, dev_from, dev_share, dev_seed: as of a manifest, with the columns of the data set.
    """

    reader: Literal["huggingface"] = "huggingface"
    path: Path | None = None
    hub: str | None = Field(None, pattern=r"^[\w.-]+(/[\w.-]+)?$")
    revision: str = "main"
    config: str | None = None
    splits: dict[str, str] | None = None
    unpacked: Path | None = None
    partial: bool = False
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
        try:
            return ManifestCorpus(path=Path("table.parquet"), columns=columns).columns
        except ValidationError as error:
            said = "; ".join(one["msg"].removeprefix("Value error, ") for one in error.errors())
            raise ValueError(said) from error

    @field_validator("path", "unpacked")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path else None

    @field_validator("splits")
    @classmethod
    def _named(cls, given: dict[str, str] | None) -> dict[str, str] | None:
        wrong = [ours for ours in (given or {}).values() if splits.named(ours) != ours]
        if wrong:
            raise ValueError(f"splits should become train, dev, test or test-…, not {', '.join(wrong)}")
        return given

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("say either path (a folder) or hub (the name of a data set in the hub's cache)")
        if self.hub and self.unpacked is None:
            raise ValueError("say unpacked: the folder where the recordings of a data set in the hub's cache are put")
        return self

    def table(self) -> pd.DataFrame:
        folder = self.path or self._cached()
        if not folder.is_dir():
            raise UserError(
                f"the data set should be a folder: {folder} is {'a file' if folder.exists() else 'not there'}"
            )
        copy = Copy(f"the data set {folder}", self.partial)
        found = layout.files(folder, self.config, self.splits, copy)
        for name, rows in layout.declared_rows(folder, self.config).items():
            if name in found:
                copy.count(f"rows of {name}", unpacking.count_rows(found[name]), rows)
        chosen = self._chosen(found, copy)
        copy.check()
        target = self.unpacked or folder.with_name(f"{folder.name}-unpacked")
        told = Copy(copy.of, self.partial)  # What lacks so far was told.
        table, audio = unpacking.unpack(chosen, folder, target, self.columns.get("audio"), told, self.allow_outside)
        # Paths were checked when they were unpacked.
        settings: dict[str, Any] = {name: getattr(self, name) for name in (*MANIFEST, *LIMITS)}
        settings |= {"columns": {**self.columns, "audio": audio}, "allow_outside": True}
        return ManifestCorpus(path=table, **settings).table()

    def _chosen(self, found: layout.Splits, copy: Copy) -> layout.Splits:
        """The files of each split, by our names where the settings give them."""
        if self.splits is not None:
            chosen: layout.Splits = {}
            for name, ours in self.splits.items():
                chosen.setdefault(ours, []).extend(found.get(name, []))
            return chosen
        if self.split is None and len(found) > 1:
            for name in found:
                if splits.named(name) is None:
                    copy.wrong("say what is to become of every split: splits: {<its name>: train, …}", name)
        return found

    def _cached(self) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            return Path(snapshot_download(self.hub, repo_type="dataset", revision=self.revision, local_files_only=True))
        except HFValidationError as error:
            raise UserError(f"'{self.hub}' is no name of a data set of the hub: {error}") from error
        except LocalEntryNotFoundError as error:
            raise UserError(
                f"the data set '{self.hub}' ({self.revision}) is not in the hub's cache on this machine, and nothing is "
                f"downloaded in a run; get it first: hf download {self.hub} --repo-type dataset"
                + (f" --revision {self.revision}" if self.revision != "main" else "")
            ) from error
