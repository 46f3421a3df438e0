"""Splits: which utterances train, which stop the training, which test."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

SYNONYMS = {
    "training": "train",
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
    "development": "dev",
    "eval": "test",
    "evaluation": "test",
    "testing": "test",
}


def named(name: str) -> str | None:
    """`train`, `dev` or `test…` for a name as found in a file; None for a name that is none of these.

    Every name that begins with `test` is a test set of its own (`test-clean`, `test-other`).
    """
    name = name.strip().lower()
    name = SYNONYMS.get(name, name)
    return name if name in ("train", "dev") or name.startswith("test") else None


def seeded(groups: Sequence[str], shares: Mapping[str, float], seed: int) -> list[str]:
    """Cuts rows into splits so that no group (a speaker) is on two sides; what is left is `train`.

    Groups are taken in a seeded order that depends on their names alone, as long as a split comes closer to its share
    of the rows; each split has at least one, where there are enough of them.

    Args:
        groups: the group of each row.
        shares: of the rows, by split, in (0, 1).
        seed: other seeds cut otherwise.

    Returns:
        The split of each row.
    """
    sizes = Counter(groups)
    left = sorted(sizes, key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).digest())
    split = dict.fromkeys(sizes, "train")
    for number, (name, share) in enumerate(shares.items()):
        wanted, taken, chosen = share * len(groups), 0, []
        spare = len(left) - (len(shares) - number)  # Every later split, and train, keeps one group at least.
        for group in left:
            if len(chosen) < spare and abs(taken + sizes[group] - wanted) < wanted - taken:
                chosen.append(group)
                taken += sizes[group]
        if not chosen and spare > 0:
            chosen = [min(left, key=lambda group: sizes[group])]
        split |= dict.fromkeys(chosen, name)
        left = [group for group in left if split[group] == "train"]
    return [split[group] for group in groups]
