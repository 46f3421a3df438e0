"""Evenness: how evenly something is shared out, be it occurrences over token types or variance over dimensions."""

from __future__ import annotations

import math

import numpy as np

QUANTILES: tuple[float, ...] = tuple(
    # Finer towards the end: a few types, or directions, may hold nearly all.
    np.unique(np.round([*np.linspace(0, 1, 101), *(1 - np.geomspace(1e-4, 1e-2, 21))], 6)).tolist()
)
"""Shares of the types (or dimensions) at which a curve is stored: 121 points from 0 to 1."""
FIFTH = 0.2


def entropy(weights: np.ndarray) -> float:
    """Entropy of weights ≥ 0 taken as shares of their sum, in bits."""
    p = weights[weights > 0] / max(weights.sum(), np.finfo(float).tiny)
    return float(max(-(p * np.log2(p)).sum(), 0.0))


def normalised_entropy(weights: np.ndarray) -> float:
    """H / log2 n over all n places, used or not: 1 where all are equal, 0 where one holds everything (or n = 1)."""
    return entropy(weights) / math.log2(len(weights)) if len(weights) > 1 else 0.0


def effective_number(weights: np.ndarray) -> float:
    """2^H, the number of equal shares that have the same entropy; 0 where there is nothing to share.

    Of token counts it is the perplexity; of eigenvalues the effective rank (Roy & Vetterli 2007).
    """
    return 2 ** entropy(weights) if weights.any() else 0.0


def participation_ratio(weights: np.ndarray) -> float:
    """(Σ w)² / Σ w², another effective number, which small shares hardly move; 0 where there is nothing to share."""
    largest = weights.max(initial=0.0)
    scaled = weights / largest if largest > 0 else weights  # squares of tiny values would vanish
    return float(scaled.sum() ** 2 / np.square(scaled).sum()) if largest > 0 else 0.0


def lorenz(weights: np.ndarray, at: float | tuple[float, ...] = QUANTILES) -> np.ndarray:
    """The Lorenz curve: the share of the sum that the smallest `at` of the places hold together.

    Linear between places, so that equal weights give `at` itself however many they are. All zeros where the sum is.
    """
    if not weights.any():
        return np.zeros_like(np.asarray(at, float))
    heights = np.concatenate([[0.0], np.cumsum(np.sort(weights), dtype=np.float64)])
    return np.interp(at, np.linspace(0, 1, len(heights)), heights / heights[-1])


def curve(weights: np.ndarray) -> list[float]:
    """A Lorenz curve at `QUANTILES`, to be stored."""
    return np.round(lorenz(weights), 6).tolist()
