"""Speech tokens: de-duplication, private code points, statistics. Formulas as in the field (entropy, bitrate)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator import evenness

FIRST_CODE_POINT = 0xF0000
"""Units become characters of a private Unicode plane: contiguous, without normalisation, never a letter or a blank."""
MOST_UNITS = 0xFFFE


def deduplicate(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Collapses repeats: codes `[T]` → (units `[N]`, run lengths `[N]`); `np.repeat` gives the codes back."""
    if not len(codes):
        return codes, np.zeros(0, np.uint32)
    starts = np.concatenate([[0], np.flatnonzero(codes[1:] != codes[:-1]) + 1])
    return codes[starts], np.diff(np.append(starts, len(codes))).astype(np.uint32)


def to_text(units: np.ndarray) -> str:
    """Units `[N]` as a string of N private characters."""
    return "".join(map(chr, (units.astype(np.int64) + FIRST_CODE_POINT).tolist()))


def from_text(text: str) -> np.ndarray:
    """The inverse of `to_text`."""
    return np.fromiter((ord(c) - FIRST_CODE_POINT for c in text), np.int64, len(text))


def statistics(sequences: Iterable[Sequence[int] | np.ndarray], vocabulary: int, seconds: float) -> dict[str, Any]:
    """Statistics of the tokens of a set of utterances: `summary` of their counts.

    Args:
        sequences: token ids below `vocabulary`.
        vocabulary: size of the table, used or not.
        seconds: of audio, all utterances together.
    """
    counts = np.zeros(vocabulary, np.int64)
    for sequence in sequences:
        counts += np.bincount(np.asarray(sequence, np.int64), minlength=vocabulary)
    return summary(counts, seconds)


def summary(counts: np.ndarray, seconds: float) -> dict[str, Any]:
    """What the counts `[V]` of all token types, used or not, say about `seconds` of audio.

    Returns:
        vocabulary (V), tokens, seconds, tokens_per_second, used, dead, utilisation (used / V), entropy (bits),
        normalised_entropy (H / log2 V, by V and not by the used codes, so that a collapsed codebook scores low),
        effective_types (2^H), bits_per_second (measured: N · log2 V / seconds), entropy_rate (N · H / seconds),
        rarest_fifth_share (of the occurrences that fall on the rarest 20 % of the used types; a type that the border
        cuts counts in part).
    """
    vocabulary, total, used = len(counts), int(counts.sum()), counts[counts > 0]
    bits = evenness.entropy(counts)
    return {
        "vocabulary": vocabulary,
        "tokens": total,
        "seconds": round(seconds, 3),
        "tokens_per_second": _rate(total, seconds),
        "used": len(used),
        "dead": vocabulary - len(used),
        "utilisation": len(used) / vocabulary,
        "entropy": bits,
        "normalised_entropy": evenness.normalised_entropy(counts),
        "effective_types": evenness.effective_number(counts),
        "bits_per_second": _rate(total * math.log2(vocabulary), seconds),
        "entropy_rate": _rate(total * bits, seconds),
        "rarest_fifth_share": float(evenness.lorenz(used, evenness.FIFTH)),
    }


def seen_less(train: np.ndarray, tests: Mapping[str, np.ndarray], fewer_than: int) -> dict[str, Any]:
    """How much rests on tokens seen fewer than `fewer_than` times in training.

    Args:
        train: counts `[V]` in training.
        tests: counts `[V]` in each test set.

    Returns:
        fewer_than, types (share of the V types), occurrences (test set → share of its tokens; None where it has none).
    """
    rare = train < fewer_than
    return {
        "fewer_than": fewer_than,
        "types": float(rare.mean()),
        "occurrences": {
            name: float(counts[rare].sum() / counts.sum()) if counts.any() else None for name, counts in tests.items()
        },
    }


def _rate(amount: float, seconds: float) -> float:
    return amount / seconds if seconds > 0 else 0.0
