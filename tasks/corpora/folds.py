"""Folds: parts of a corpus that take turns as its test set, so that no speaker is on two sides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence


def dealt(*groups: Iterable[str], folds: int, seed: int) -> dict[str, str]:
    """Deals speakers out to folds, one by one, in a seeded order that depends on their names alone.

    Args:
        groups: speakers; each group (men, women) is dealt after the other, so that each is spread evenly.
        folds: how many.
        seed: other seeds deal otherwise.

    Returns:
        Speaker → `1`, `2`, …
    """
    order = [
        speaker
        for group in groups
        for speaker in sorted(set(group), key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    ]
    return {speaker: str(place % folds + 1) for place, speaker in enumerate(order)}


def split(fold: str, folds: Sequence[str]) -> str:
    """The split of a fold in a grid that names none: the last one tests, the one before it is dev, the others train."""
    return {folds[-1]: "test", folds[-2]: "dev"}.get(fold, "train")
