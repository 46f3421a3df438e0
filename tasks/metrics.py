"""Metrics and the text normalisers they are computed after.

Rates and accuracies are fractions of one (an error rate can exceed one); BLEU and chrF are 0 to 100, as sacreBLEU gives
them. The libraries are imported where they are used: naming a metric must not cost their start-up.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from orchestrator.errors import StageError, UserError, suggest

HIGHER_IS_BETTER: dict[str, bool] = {
    "wer": False,
    "cer": False,
    "per": False,
    "bleu": True,
    "chrf": True,
    "accuracy": True,
    "macro_f1": True,
}
"""Every metric, and which way it points."""

APOSTROPHES = {"\N{RIGHT SINGLE QUOTATION MARK}": "'", "\N{MODIFIER LETTER APOSTROPHE}": "'"}


def direction(metric: str) -> int:
    """+1 for a metric that should be high, −1 for one that should be low.

    Raises:
        UserError: there is no such metric.
    """
    if metric not in HIGHER_IS_BETTER:
        raise UserError(f"there is no metric '{metric}': {suggest(metric, HIGHER_IS_BETTER)}")
    return 1 if HIGHER_IS_BETTER[metric] else -1


def basic(text: str) -> str:
    """Lower case, Unicode NFKC, punctuation except apostrophes and invisible characters removed, blanks collapsed.

    Punctuation leaves a blank behind, so that `well-known` and `well known` are the same two words. Idempotent.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    return " ".join("".join(map(_basic_character, text)).split())


@cache
def _basic_character(character: str) -> str:
    character = APOSTROPHES.get(character, character)
    category = unicodedata.category(character)
    if category == "Cf":
        return ""
    punctuation = category.startswith("P") and character != "'"
    return " " if punctuation or category == "Cc" else character


NORMALISERS: dict[str, Callable[[str], str]] = {"basic-1": basic, "none": str}
"""By the name that goes into the results; a changed normaliser gets a new name."""


def measure(metric: str, references: Sequence[str], answers: Sequence[str], tokenizer: str = "13a") -> float:
    """One metric over a whole test set. An answer may be empty, a reference may not.

    Args:
        references: one text or label for each utterance.
        answers: what the decoder said, in the same order.
        tokenizer: sacreBLEU's, for BLEU alone (`zh` for Chinese).

    Raises:
        StageError: there is nothing to compare, or a reference is empty, or the numbers differ.
    """
    direction(metric)
    if len(references) != len(answers):
        raise StageError(
            f"{metric} needs an answer for each reference: {len(references)} references, {len(answers)} answers"
        )
    if not references:
        raise StageError(f"{metric} of no utterances is not defined: the test set is empty")
    blank = [number for number, reference in enumerate(references) if not reference.strip()]
    if blank:
        raise StageError(
            f"{metric} needs references that say something; {len(blank)} are empty (the first is number {blank[0]}, "
            "counted from 0). Leave these utterances out of the task."
        )
    return float(_METRICS[metric](list(references), list(answers), tokenizer))


def signature(metric: str, tokenizer: str = "13a") -> str | None:
    """sacreBLEU's signature of a metric; None for the metrics that have none."""
    if metric not in ("bleu", "chrf"):
        return None
    scorer = _sacrebleu(metric, tokenizer)
    scorer.corpus_score(["a"], [["a"]])  # It knows the number of references only after a score.
    return str(scorer.get_signature())


def _wer(references: list[str], answers: list[str], _: str) -> float:
    # jiwer divides the sum of errors by the sum of reference words: a ratio of sums, never a mean of ratios.
    import jiwer

    return jiwer.wer([" ".join(r.split()) for r in references], [" ".join(a.split()) for a in answers])


def _cer(references: list[str], answers: list[str], _: str) -> float:
    import jiwer

    return jiwer.cer([" ".join(r.split()) for r in references], [" ".join(a.split()) for a in answers])


def _sacrebleu(metric: str, tokenizer: str) -> Any:
    from sacrebleu.metrics import BLEU, CHRF

    return BLEU(tokenize=tokenizer) if metric == "bleu" else CHRF()


def _bleu(references: list[str], answers: list[str], tokenizer: str) -> float:
    return _sacrebleu("bleu", tokenizer).corpus_score(answers, [references]).score


def _chrf(references: list[str], answers: list[str], tokenizer: str) -> float:
    return _sacrebleu("chrf", tokenizer).corpus_score(answers, [references]).score


def _accuracy(references: list[str], answers: list[str], _: str) -> float:
    return sum(r == a for r, a in zip(references, answers, strict=True)) / len(references)


def _macro_f1(references: list[str], answers: list[str], _: str) -> float:
    # Mean over the labels that occur in the references: a label that nobody could get right says nothing.
    from sklearn.metrics import f1_score

    return f1_score(references, answers, labels=sorted(set(references)), average="macro", zero_division=0)


_METRICS: dict[str, Callable[[list[str], list[str], str], float]] = {
    "wer": _wer,
    "cer": _cer,
    "per": _wer,  # Phonemes are separated by blanks, as words are.
    "bleu": _bleu,
    "chrf": _chrf,
    "accuracy": _accuracy,
    "macro_f1": _macro_f1,
}
