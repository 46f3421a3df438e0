"""BPE over units: trained on training utterances only, lossless by assertion."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from orchestrator import tokens
from orchestrator.errors import StageError
from orchestrator.stage import Build, Stage
from orchestrator.stages.shards import read_index
from orchestrator.stages.units import Units, read_units
from orchestrator.store import Artifact


@dataclass(frozen=True, kw_only=True)
class Bpe(Stage):
    """Files: `bpe.json` (a `tokenizers` file over private code points) and `statistics.json` of the tokens of the corpus."""

    name: ClassVar[str] = "bpe"

    units: Units
    selection: Stage
    vocabulary: int
    dedup: bool = True

    @property
    def readable(self) -> str:
        return f"{self.units.readable}-bpe{self.vocabulary}"

    def build(self, at: Build) -> None:
        k = self.units.codebook.k
        if self.vocabulary < k:
            raise StageError(
                f"a BPE vocabulary of {self.vocabulary} is smaller than the codebook of {k} that it starts from"
            )
        if k > tokens.MOST_UNITS:
            raise StageError(f"BPE over units takes codebooks up to {tokens.MOST_UNITS}, not {k}")
        artifact = at.open(self.units)
        units = read_units(artifact, dedup=self.dedup)
        train = [units[name] for name in at.open(self.selection).json("ids.json") if name in units]
        bpe = train_bpe(train, k, self.vocabulary)
        bpe.save(str(at.folder / "bpe.json"))
        encoded = encode(bpe, units)
        seconds = float(read_index(artifact).set_index("id")["seconds"].loc[list(units)].sum())
        report = tokens.statistics(encoded.values(), bpe.get_vocab_size(), seconds)
        (at.folder / "statistics.json").write_text(json.dumps(report, indent=1), "utf-8")


def train_bpe(train: Iterable[np.ndarray], k: int, vocabulary: int) -> Tokenizer:
    """A byte-pair encoding whose first k tokens are the units themselves, so that units unseen in training encode too.

    No normaliser and no pre-tokeniser: a merge may span anything, and nothing is dropped.
    """
    tokenizer = Tokenizer(BPE())
    alphabet = [chr(tokens.FIRST_CODE_POINT + unit) for unit in range(k)]
    trainer = BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, special_tokens=[], show_progress=False)
    tokenizer.train_from_iterator((tokens.to_text(units) for units in train), trainer)
    return tokenizer


def encode(bpe: Tokenizer, units: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """BPE tokens int64 `[M]` by utterance.

    Raises:
        StageError: an utterance does not come back exactly from its tokens.
    """
    names = list(units)
    encoded: dict[str, np.ndarray] = {}
    for name, encoding in zip(names, bpe.encode_batch([tokens.to_text(units[n]) for n in names]), strict=True):
        # Compared in pieces: decoding would insert blanks between them.
        if not np.array_equal(tokens.from_text("".join(encoding.tokens)), units[name]):
            raise StageError(f"BPE lost units of '{name}'; this should never happen, please report it")
        encoded[name] = np.asarray(encoding.ids, np.int64)
    return encoded


def read_bpe(artifact: Artifact) -> Tokenizer:
    """The tokenizer of a finished artifact."""
    return Tokenizer.from_file(str(artifact.file("bpe.json")))
