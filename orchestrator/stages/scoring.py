"""Scoring: a trained decoder answers the dev and test sets, and the task's metrics judge it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from orchestrator import device
from orchestrator.decoders import Example
from orchestrator.stage import Build, Stage, runtime
from orchestrator.stages.annotations import Annotations, read_annotations
from orchestrator.stages.speech import unreadable
from orchestrator.stages.training import Training, examples
from tasks import TASKS

if TYPE_CHECKING:
    from orchestrator.decoders import SpeechLM


@dataclass(frozen=True, kw_only=True)
class Scoring(Stage):
    """Files: `predictions.parquet` (id, split, speaker, reference, answer, error) and `metrics.json`.

    An utterance without frames counts as an empty answer, never as absent.
    """

    name: ClassVar[str] = "scoring"

    training: Training
    annotations: Annotations
    longest_answer: float = 1.5
    """Longest answer in tokens that is decoded, as a multiple of the longest target in training."""
    beams: int = 1
    """Of the search for answers; 1 is greedy."""

    recordings: Stage | None = runtime(None)  # noqa: RUF009
    """What the utterances are heard in; only the measurement of latency reads it, no score depends on it."""

    @property
    def readable(self) -> str:
        return self.training.readable

    def limit(self, model: SpeechLM, trained_targets: Iterable[str]) -> int:
        """Most tokens of an answer, its end included."""
        return int(self.longest_answer * max(map(model.answer_length, trained_targets))) + 2

    def answers(
        self, model: SpeechLM, asked: Sequence[Example], limit: int, begun: Callable[[list[int]], None] | None = None
    ) -> list[str]:
        """What the trained decoder answers, in the order of the examples.

        Args:
            limit: of the tokens of an answer.
            begun: see `decoding.answer`.
        """
        from orchestrator.decoders import answer

        labels = self.training.task.labels or None
        return answer(model, asked, labels=labels, max_new_tokens=limit, beams=self.beams, begun=begun)

    def build(self, at: Build) -> None:
        from orchestrator.decoders import load  # torch with it, which a plan never needs

        training, trained = self.training, at.open(self.training)
        task = TASKS[training.task.name]
        table = read_annotations(at.open(self.annotations))
        trained_targets = table.loc[table["split"] == "train", "target"].tolist()
        broken = unreadable(training.speech, at.open)
        model = load(trained.folder / "model", file=trained.file, device=device.available(), decoder=training.decoder)
        limit = self.limit(model, trained_targets)
        predictions, report, started, seconds = [], [], time.perf_counter(), 0.0
        splits = sorted(set(table["split"]) - {"train"})
        for done, split in enumerate(splits):
            at.progress(done, len(splits), "test sets")
            rows = table[table["split"] == split].assign(error=lambda r: r["id"].map(broken))
            asked = examples(table, split, training.speech, at.open)
            begun = time.perf_counter()
            answers = self.answers(model, asked, limit)
            seconds += time.perf_counter() - begun
            found = dict(zip((e.id for e in asked), answers, strict=True))
            rows = rows.assign(answer=[found.get(name, "") for name in rows["id"]])
            predictions.append(rows.rename(columns={"target": "reference"}))
            references = rows["target"].tolist()
            variant = training.task.variant
            report.append(
                {
                    "test_set": split,
                    "split": "dev" if split == "dev" else "test",
                    "n": len(rows),
                    "failed": int(rows["error"].notna().sum()),
                    "metrics": task.score(references, rows["answer"].tolist(), variant),
                    "baseline": task.score(references, task.baseline(trained_targets, len(rows)), variant),
                }
            )
        pd.concat(predictions).to_parquet(at.folder / "predictions.parquet", index=False)
        summary: dict[str, Any] = {
            "primary": task.primary,
            "results": report,
            "details": task.details(training.task.variant) | {"beams": self.beams},
            "decoding_seconds": round(seconds, 3),
            "scoring_seconds": round(time.perf_counter() - started, 3),
        }
        (at.folder / "metrics.json").write_text(json.dumps(summary, indent=1), "utf-8")
