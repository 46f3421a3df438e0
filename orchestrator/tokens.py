"""Speech tokens: de-duplication, private code points, statistics. Formulas as in the field (entropy, bitrate)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

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


def entropy(counts: np.ndarray) -> float:
    """Entropy of the empirical distribution, in bits a token."""
    p = counts[counts > 0] / max(counts.sum(), 1)
    return float(max(-(p * np.log2(p)).sum(), 0.0))


def statistics(sequences: Iterable[Sequence[int] | np.ndarray], vocabulary: int, seconds: float) -> dict[str, Any]:
    """Statistics of the tokens of a set of utterances.

    Args:
        sequences: token ids below `vocabulary`.
        vocabulary: size of the table, used or not.
        seconds: of audio, all utterances together.

    Returns:
        tokens, tokens_per_second, used, dead, utilisation (used / V), entropy (bits), normalised_entropy (H / log2 V,
        by V and not by the used codes, so that a collapsed codebook scores low), bits_per_second (measured:
        N · log2 V / seconds), entropy_rate (N · H / seconds), rarest_fifth_share (of the occurrences that fall on the
        rarest 20 % of the used types).
    """
    counts = np.zeros(vocabulary, np.int64)
    for sequence in sequences:
        counts += np.bincount(np.asarray(sequence, np.int64), minlength=vocabulary)
    total, used, bits = int(counts.sum()), int((counts > 0).sum()), entropy(counts)
    sorted_counts = np.sort(counts[counts > 0])
    rarest = int(sorted_counts[: math.ceil(0.2 * used)].sum()) if used else 0
    return {
        "vocabulary": vocabulary,
        "tokens": total,
        "seconds": round(seconds, 3),
        "tokens_per_second": total / seconds,
        "used": used,
        "dead": vocabulary - used,
        "utilisation": used / vocabulary,
        "entropy": bits,
        "normalised_entropy": bits / math.log2(vocabulary) if vocabulary > 1 else 0.0,
        "bits_per_second": total * math.log2(vocabulary) / seconds,
        "entropy_rate": total * bits / seconds,
        "rarest_fifth_share": rarest / total if total else 0.0,
    }
