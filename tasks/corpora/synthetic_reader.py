"""The synthetic corpus: speech that espeak-ng makes within the run. Its rows have no audio until it is spoken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from orchestrator.errors import suggest
from tasks.corpora.corpus import ANNOTATIONS, Corpus, frame

if TYPE_CHECKING:
    import pandas as pd


class SyntheticCorpus(Corpus):
    """Seeded utterances of a small language.

    Attributes:
        preset: how many, how hard (tasks/corpora/synthetic).
        seed: of sentences, voices and noise.
    """

    reader: Literal["synthetic"] = "synthetic"
    preset: str = "demo"
    seed: int = 0

    @field_validator("preset")
    @classmethod
    def _known(cls, preset: str) -> str:
        from tasks.corpora.synthetic import PRESETS

        if preset not in PRESETS:
            raise ValueError(f"there is no preset '{preset}': {suggest(preset, PRESETS)}")
        return preset

    def table(self) -> pd.DataFrame:
        from tasks.corpora.synthetic import utterances

        columns = ("id", "speaker", "split", *ANNOTATIONS)
        return frame({c: getattr(one, c, None) for c in columns} for one in utterances(self.preset, self.seed))
