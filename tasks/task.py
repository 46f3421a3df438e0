"""Task: what the decoder must produce, and how its answers are scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.errors import StageError, UserError, suggest
from tasks.metrics import NORMALISERS, direction, measure, signature


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task over the annotations of a corpus. Utterances whose column is empty are not part of it.

    Attributes:
        name: names the task in search spaces and results.
        version: raised whenever instruction, targets or scoring change, so that results of two protocols never mix.
        instruction: what the decoder is told; the default prompt has the speech on a line below it.
        column: the annotation column that holds the targets; `{variant}` stands for the variant.
        kind: `sequence` (free text), or `classification` (decoded only into the labels of the training split).
        metrics: what is computed, by name (tasks/metrics.py).
        primary: the metric that decides.
        variants: where the task has several, their names; a cell names one of them.
        normaliser: applied to references and answers alike before scoring, in every arm.
    """

    name: str
    version: int = 1
    instruction: str
    column: str
    kind: Literal["sequence", "classification"]
    metrics: tuple[str, ...]
    primary: str
    variants: tuple[str, ...] = ()
    normaliser: str = "none"

    def __post_init__(self) -> None:
        for metric in (*self.metrics, self.primary):
            direction(metric)
        if self.primary not in self.metrics or self.normaliser not in NORMALISERS:
            raise ValueError(f"the task '{self.name}' names a primary metric or a normaliser that it doesn't have")

    def column_for(self, variant: str | None = None) -> str:
        """The annotation column of a variant."""
        self._check(variant)
        return self.column.format(variant=variant)

    def templates_for(self, variant: str | None = None, given: Sequence[str] = ()) -> tuple[str, ...]:
        """The prompts of a variant, each with the placeholder `{speech}`: those given, or the task's own."""
        self._check(variant)
        return tuple(given) or (f"{self.instruction}\n{{speech}}",)

    def normalise(self, text: str) -> str:
        """A text as it is scored."""
        return NORMALISERS[self.normaliser](text)

    def says(self, text: str) -> bool:
        """Whether something is left of a text as it is scored: a reference must say something."""
        # No normaliser takes letters or digits away, and to find one is many times as fast.
        return any(map(str.isalnum, text)) or bool(self.normalise(text).strip())

    def score(self, references: Sequence[str], answers: Sequence[str], variant: str | None = None) -> dict[str, float]:
        """Every metric of the task over one test set.

        Args:
            references: the targets, none of them empty.
            answers: the decoder's answers in the same order; an empty one is an answer too.
            variant: the variant of the task, where it has several.

        Returns:
            Rates and accuracies as fractions of one; BLEU and chrF from 0 to 100.
        """
        self._check(variant)
        references, answers = [self.normalise(r) for r in references], [self.normalise(a) for a in answers]
        tokenizer = self.tokenizer(variant)
        return {metric: measure(metric, references, answers, tokenizer) for metric in self.metrics}

    def details(self, variant: str | None = None) -> dict[str, Any]:
        """How the scores were made: `{"normaliser": name, "signature": {metric: sacreBLEU's signature}}`."""
        self._check(variant)
        tokenizer = self.tokenizer(variant)
        signatures = {metric: text for metric in self.metrics if (text := signature(metric, tokenizer))}
        return {"normaliser": self.normaliser, "signature": signatures}

    def baseline(self, train_targets: Sequence[str], n: int) -> list[str]:
        """`n` answers that need no speech: the commonest training label (the first by name of equals), or nothing.

        Raises:
            StageError: a classification without training labels.
        """
        if self.kind == "sequence":
            return [""] * n
        if not train_targets:
            raise StageError(
                f"the task '{self.name}' has no training label to guess: no training row has '{self.column}'"
            )
        counts = Counter(train_targets)
        return [min(counts, key=lambda label: (-counts[label], label))] * n

    def tokenizer(self, variant: str | None) -> str:
        """sacreBLEU's tokenizer for the targets of a variant."""
        return "13a"

    def _check(self, variant: str | None) -> None:
        if self.variants and variant not in self.variants:
            came = f"not '{variant}'" if variant else "and none was given"
            raise UserError(
                f"the task '{self.name}' needs one of its variants, {came}: {suggest(variant, self.variants)}"
            )
        if variant and not self.variants:
            raise UserError(f"the task '{self.name}' has no variants; '{variant}' was given: leave it out")
