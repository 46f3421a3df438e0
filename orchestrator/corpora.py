"""Corpora, indexed: the recordings of a corpus as a stage, the healthy rows of its table, and what was quarantined."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from orchestrator import audio
from orchestrator.audio import Limits
from orchestrator.errors import UserError
from orchestrator.stage import Progress, Stage, silent
from orchestrator.stages import annotations as notes
from orchestrator.stages.recordings import Recordings, SynthesisedRecordings, write_tables
from orchestrator.store import Store, discard
from tasks.corpora import Corpus, synthetic
from tasks.corpora.synthetic_reader import SyntheticCorpus

NOT_INDEXED = "not indexed yet"
"""Stands for the content of recordings that nobody has read; only `plan` ever sees it."""


@dataclass
class Indexed:
    """A corpus whose audio is known.

    Attributes:
        name: in the space.
        table: the healthy utterances, a row each (see `tasks.corpora.Corpus.table`), with `seconds` where known.
        recordings: the stage.
        quarantine: id, audio, reason of what can't be used.
        audio_files: id, audio, start, seconds, hash; None for synthesised speech.
    """

    name: str
    table: pd.DataFrame
    recordings: Recordings | SynthesisedRecordings
    quarantine: pd.DataFrame
    audio_files: pd.DataFrame | None = None
    _splits: dict[str | None, pd.DataFrame] = field(default_factory=dict)

    @property
    def is_known(self) -> bool:
        """Whether identities that depend on its audio can be told."""
        return getattr(self.recordings, "content", "") != NOT_INDEXED

    @cached_property
    def hours(self) -> float | None:
        """Of healthy audio; None where no one has measured it yet."""
        seconds = self.table["seconds"]
        return None if seconds.isna().any() else float(seconds.sum()) / 3600

    def splits(self, fold: str | None) -> pd.DataFrame:
        """The table with the `split` column of a fold: that fold tests, the next one is dev, the others train.

        Raises:
            UserError: the corpus has no such fold.
        """
        if fold is None:
            return self.table
        if fold not in self._splits:
            folds = sorted(self.table["fold"].dropna().astype(str).unique())
            if fold not in folds or len(folds) < 3:
                raise UserError(
                    f"corpus '{self.name}': expected fold '{fold}' among at least three; it has: {folds or 'none'}"
                )
            dev = folds[(folds.index(fold) + 1) % len(folds)]
            table = self.table[self.table["fold"].notna()]
            split = table["fold"].astype(str).map(lambda f: {fold: "test", dev: "dev"}.get(f, "train"))
            self._splits[fold] = table.assign(split=split)
        return self._splits[fold]

    def put(self, store: Store) -> None:
        """Stores the tables of recordings that the user brings; files that moved are found at their new place."""
        if self.audio_files is None:
            return
        files, quarantine = self.audio_files, self.quarantine
        if store.has(self.recordings):
            stored = pd.read_parquet(store.open(self.recordings).file("recordings.parquet"), columns=["id", "audio"])
            if all(stored[name].tolist() == files[name].tolist() for name in ("id", "audio")):
                return
            discard(store.folder(self.recordings))
        store.put(self.recordings, lambda folder: write_tables(folder, files, quarantine))


def index(name: str, corpus: Corpus, store: Store, progress: Progress = silent, only_cached: bool = False) -> Indexed:
    """Reads a corpus' table and, for audio that the user brings, its files: hashed, decoded once, checked.

    Args:
        only_cached: reads no audio; recordings stay unknown where the cache lacks some.

    Raises:
        UserError: the table is wrong, or more than `max_broken` of the recordings are.
    """
    table = corpus.table()
    if isinstance(corpus, SyntheticCorpus):
        recordings = SynthesisedRecordings(
            preset=corpus.preset,
            corpus_seed=corpus.seed,
            content=notes.digest(
                # What is heard, not what is said about it: a mended translation speaks nothing again.
                (u.id, asdict(u.speech), asdict(u.scene))
                for u in synthetic.utterances(corpus.preset, corpus.seed)
            ),
            generator=synthetic.VERSION,
            engine=synthetic.engine(),
            corpus=name,
        )
        table = table.assign(seconds=_synthesised_seconds(table, recordings, store))
        return Indexed(name, table, recordings, _no_quarantine())
    if not table["id"].is_unique:
        twice = sorted(set(table.loc[table["id"].duplicated(), "id"]))
        raise UserError(f"corpus '{name}': ids should occur once: {', '.join(twice[:10])} ({len(twice)} occur again)")
    cache = store.root / "index"
    limits = Limits(corpus.min_seconds, corpus.max_seconds, corpus.max_broken)
    try:
        found = audio.cached(table, cache, limits) if only_cached else audio.index(table, cache, limits, progress)
    except UserError as error:
        raise UserError(f"corpus '{name}': {error}") from error
    if found is None:
        return Indexed(name, table, Recordings(content=NOT_INDEXED, corpus=name), _no_quarantine())
    files, bad = found
    healthy = table[~table["id"].isin(bad["id"])] if len(bad) else table
    healthy = healthy.assign(seconds=files["seconds"].to_numpy()).reset_index(drop=True)
    for split in sorted(set(table["split"]) - set(healthy["split"])):
        raise UserError(
            f"corpus '{name}': the split '{split}' is empty once its {len(bad)} broken recordings are left out"
        )
    if not files["id"].is_monotonic_increasing:
        files = files.sort_values("id", ignore_index=True)
    # Of a file that is used whole, the hash says all; its length depends on who decodes it.
    segments = files[["start", "seconds"]].where(files["start"].notna())
    content = notes.digest_columns({"id": files["id"], "hash": files["hash"], **segments})
    return Indexed(name, healthy, Recordings(content=content, corpus=name), bad, files)


def _synthesised_seconds(table: pd.DataFrame, recordings: Stage, store: Store) -> pd.Series:
    if not store.has(recordings):
        return pd.Series(float("nan"), index=table.index)
    made = pd.read_parquet(Path(store.folder(recordings)) / "recordings.parquet", columns=["id", "seconds"])
    return table["id"].map(made.set_index("id")["seconds"])


def _no_quarantine() -> pd.DataFrame:
    return pd.DataFrame({"id": [], "audio": [], "reason": []}, dtype=str)
