"""Metrics and the text normalisers they are computed after.

Rates and accuracies are fractions of one (an error rate can exceed one); BLEU and chrF are 0 to 100, as sacreBLEU gives
them. The libraries are imported where they are used: naming a metric must not cost their start-up.

Every metric is a function of sums over utterances: `counts` are what is summed, `score` is the function. So a metric of
ten thousand resamples of a test set costs one matrix product (orchestrator/statistics), and it is the same metric.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.errors import StageError, UserError, suggest

if TYPE_CHECKING:
    import numpy as np

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


def bounds(metric: str) -> tuple[float, float]:
    """The lowest and the highest value that a metric can have."""
    if direction(metric) < 0:
        return 0.0, math.inf
    return 0.0, 100.0 if metric in ("bleu", "chrf") else 1.0


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
    _check(metric, references, answers)
    return float(_METRICS[metric](list(references), list(answers), tokenizer))


def counts(metric: str, references: Sequence[str], answers: Sequence[str], tokenizer: str = "13a") -> np.ndarray:
    """What a metric counts in each utterance, `[N, C]`. Arguments and errors are those of `measure`.

    `score` of the sum over some utterances, each as often as one likes, is `measure` of these utterances. C is 2 for
    error rates (errors, reference length) and accuracy (right answers, utterances); 10 for BLEU and 18 for chrF,
    sacreBLEU's own statistics; 3 L for macro F1 over L labels (right, meant, said).
    """
    import numpy as np

    _check(metric, references, answers)
    return np.asarray(_COUNTS[metric](list(references), list(answers), tokenizer), dtype=np.float64)


def score(metric: str, totals: np.ndarray) -> np.ndarray:
    """The metric of summed counts, `[..., C]` → `[...]`."""
    direction(metric)
    return _SCORES[metric](totals)


def _check(metric: str, references: Sequence[str], answers: Sequence[str]) -> None:
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


def _word_errors(references: list[str], answers: list[str], _: str) -> list[tuple[int, int]]:
    return _errors([r.split() for r in references], [a.split() for a in answers])


def _character_errors(references: list[str], answers: list[str], _: str) -> list[tuple[int, int]]:
    return _errors([" ".join(r.split()) for r in references], [" ".join(a.split()) for a in answers])


def _errors(references: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    # jiwer's own engine; jiwer itself gives sums alone, or every alignment at twenty times the cost.
    from rapidfuzz.distance import Levenshtein

    return [(Levenshtein.distance(r, a), len(r)) for r, a in zip(references, answers, strict=True)]


def _ngrams(metric: str) -> Callable[[list[str], list[str], str], list[list[int]]]:
    def of(references: list[str], answers: list[str], tokenizer: str) -> list[list[int]]:
        # What sacreBLEU's own significance tests resample; it has no public name.
        return _sacrebleu(metric, tokenizer)._extract_corpus_statistics(answers, [references])

    return of


def _right(references: list[str], answers: list[str], _: str) -> list[tuple[bool, int]]:
    return [(r == a, 1) for r, a in zip(references, answers, strict=True)]


def _label_counts(references: list[str], answers: list[str], _: str) -> np.ndarray:
    import numpy as np

    labels = np.array(sorted(set(references)), dtype=object)
    meant = np.array(references, dtype=object)[:, None] == labels
    said = np.array(answers, dtype=object)[:, None] == labels
    return np.concatenate([meant & said, meant, said], axis=1)


_COUNTS: dict[str, Callable[[list[str], list[str], str], Any]] = {
    "wer": _word_errors,
    "cer": _character_errors,
    "per": _word_errors,
    "bleu": _ngrams("bleu"),
    "chrf": _ngrams("chrf"),
    "accuracy": _right,
    "macro_f1": _label_counts,
}


def _ratio(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / totals[..., 1]


def _bleu_of(totals: np.ndarray) -> np.ndarray:
    """sacreBLEU's compute_bleu with its default smoothing: the k-th order without a match counts as 2^-k matches."""
    import numpy as np

    said, meant, right, all_said = totals[..., 0], totals[..., 1], totals[..., 2:6], totals[..., 6:10]
    defined = (right.sum(axis=-1) > 0) & (all_said > 0).all(axis=-1)
    smoothed = np.where(right == 0, 0.5 ** np.cumsum(right == 0, axis=-1), right)
    precisions = 100.0 * smoothed / np.maximum(all_said, 1)
    brevity = np.exp(np.minimum(0.0, 1.0 - meant / np.maximum(said, 1)))
    return np.where(defined, brevity * np.exp(np.log(precisions).sum(axis=-1) / 4), 0.0)


def _chrf_of(totals: np.ndarray) -> np.ndarray:
    """sacreBLEU's chrF2: F of the mean precision and the mean recall over the orders that occur on both sides."""
    import numpy as np

    said, meant, both = totals[..., 0::3], totals[..., 1::3], totals[..., 2::3]
    occurs = (said > 0) & (meant > 0)
    orders = np.maximum(occurs.sum(axis=-1), 1)
    precision = np.where(occurs, both / np.maximum(said, 1), 0.0).sum(axis=-1) / orders
    recall = np.where(occurs, both / np.maximum(meant, 1), 0.0).sum(axis=-1) / orders
    weighted = 4 * precision + recall
    return np.where(weighted > 0, 100.0 * 5 * precision * recall / np.where(weighted > 0, weighted, 1.0), 0.0)


def _macro_f1_of(totals: np.ndarray) -> np.ndarray:
    # The mean is over the labels that occur in the references of these very utterances, as in `measure`.
    import numpy as np

    right, meant, said = np.split(totals, 3, axis=-1)
    there = meant > 0
    f1 = np.where(there, 2 * right / np.maximum(meant + said, 1), 0.0)
    return f1.sum(axis=-1) / np.maximum(there.sum(axis=-1), 1)


_SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "wer": _ratio,
    "cer": _ratio,
    "per": _ratio,
    "bleu": _bleu_of,
    "chrf": _chrf_of,
    "accuracy": _ratio,
    "macro_f1": _macro_f1_of,
}
