"""The Pareto front: what no other choice beats in both score and cost."""

from __future__ import annotations

from collections.abc import Sequence


def dominates(one: tuple[float, float], other: tuple[float, float], better: int) -> bool:
    """Whether a (cost, score) is at least as good as another in both, and better in one.

    Args:
        better: +1 where a higher score is better, -1 where a lower one is. A lower cost is always better.
    """
    cheaper, higher = other[0] - one[0], better * (one[1] - other[1])
    return cheaper >= 0 and higher >= 0 and (cheaper > 0 or higher > 0)


def front(points: Sequence[tuple[float, float]], better: int) -> list[int]:
    """The places of the points (cost, score) that no other dominates, the cheapest first; equal points are all on it."""
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -better * points[i][1]))
    kept: list[int] = []
    for i in order:
        if not kept or better * points[i][1] > better * points[kept[-1]][1] or points[i] == points[kept[-1]]:
            kept.append(i)
    return kept
