"""Spectrum: how the variance of frames is spread over orthogonal directions, the eigenvalues of their covariance."""

from __future__ import annotations

from typing import Any

import numpy as np

from orchestrator import evenness

SHARES_OF_VARIANCE = (90, 95, 99)
"""Percent of the variance for which the number of directions is counted."""
MOST_SHARES = 32
"""How many of the largest eigenvalues are stored one by one; the curve tells of the others."""
STILL = 1e-8
"""A dimension that deviates less is not scaled, as in the adapter."""


def covariance(frames: np.ndarray, block: int = 1 << 13) -> np.ndarray:
    """Float64 `[D, D]` of frames `[N, D]`, in blocks: a sample in fp16 never exists in float64 as a whole."""
    count, dimension = frames.shape
    mean = frames.mean(0, dtype=np.float64)
    total = np.zeros((dimension, dimension))
    for start in range(0, count, block):
        centred = frames[start : start + block].astype(np.float64) - mean
        total += centred.T @ centred
    return total / max(count, 1)


def weighted_covariance(centroids: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Float64 `[D, D]` of frames that were replaced by centroids `[k, D]`, each occurring `weights` `[k]` times."""
    shares = weights / max(weights.sum(), 1)
    centred = centroids.astype(np.float64) - shares @ centroids.astype(np.float64)
    return (centred * shares[:, None]).T @ centred


def scaled(covariance: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """The covariance of the same frames after each dimension is divided by its deviation `[D]`, as the adapter does."""
    scale = 1 / np.where(deviation > STILL, deviation.astype(np.float64), 1.0)
    return covariance * scale[:, None] * scale


def describe(covariance: np.ndarray) -> dict[str, Any]:
    """What the eigenvalues of a covariance `[D, D]` say.

    Returns:
        dimension (D), variance (their sum), shares (the largest of them, sorted, as shares of the sum), curve (Lorenz:
        the share of the variance in the weakest directions), effective_rank (exp of the entropy of the shares; Roy &
        Vetterli 2007), participation_ratio, normalised_entropy (H / log D), weakest_fifth_share (of the variance, in
        the weakest 20 % of the directions), directions (percent of the variance → how many of the strongest hold it).
    """
    eigenvalues = np.linalg.eigvalsh(covariance)[::-1]
    # What is negative is rounding, and so is what is positive and as small.
    noise = max(eigenvalues[0], 0.0) * len(eigenvalues) * np.finfo(np.float64).eps
    eigenvalues = np.where(eigenvalues > noise, eigenvalues, 0.0)
    variance = float(eigenvalues.sum())
    shares = eigenvalues / variance if variance > 0 else eigenvalues
    held = np.cumsum(shares)
    return {
        "dimension": len(shares),
        "variance": variance,
        "shares": np.round(shares[:MOST_SHARES], 6).tolist(),
        "curve": evenness.curve(shares),
        "effective_rank": evenness.effective_number(shares),
        "participation_ratio": evenness.participation_ratio(shares),
        "normalised_entropy": evenness.normalised_entropy(shares),
        "weakest_fifth_share": float(evenness.lorenz(shares, evenness.FIFTH)),
        "directions": {
            str(percent): int(np.searchsorted(held, percent / 100 - 1e-12) + 1) if variance > 0 else 0
            for percent in SHARES_OF_VARIANCE
        },
    }
