"""Tuning: of the members of a recipe family, the learning rate that is best on dev, for each arm separately.

Members are cells of their own, so that every learning rate is trained by itself, seen, and never trained twice. The
choice is made on dev alone; test scores are looked at of the chosen one only.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.cell import Cell
from orchestrator.recipes import family_of
from tasks.metrics import direction

APART = ("recipe", "seed")
"""Coordinates in which the rivals of one choice may differ: seeds are averaged over."""


def with_choices(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The records, those of family members with `tuning`: family, learning_rate, chosen, and among how many of how many.

    A member is chosen for its mean on dev over the seeds that all tried members have finished; of equals the lower
    learning rate.
    """
    rivals: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for record in records:
        if family_of(record["recipe"])[1] is not None:
            rivals.setdefault(_arm(record), {}).setdefault(record["recipe"], []).append(record)
    best = {arm: _best(by_recipe) for arm, by_recipe in rivals.items()}
    told = []
    for record in records:
        family, rate = family_of(record["recipe"])
        if rate is None:
            told.append(dict(record))
            continue
        by_recipe = rivals[_arm(record)]
        tried = sum(any(_dev(r) is not None for r in members) for members in by_recipe.values())
        tuning = {"family": family, "learning_rate": float(rate), "chosen": record["recipe"] == best[_arm(record)]}
        told.append({**record, "tuning": tuning | {"tried": tried, "of": len(by_recipe)}})
    return told


def _arm(record: Mapping[str, Any]) -> str:
    family = family_of(record["recipe"])[0]
    return json.dumps([family, *(record[name] for name in Cell.__dataclass_fields__ if name not in APART)])


def _best(by_recipe: Mapping[str, Sequence[Mapping[str, Any]]]) -> str | None:
    done = {
        recipe: {record["seed"]: value for record in members if (value := _dev(record)) is not None}
        for recipe, members in by_recipe.items()
    }
    tried = {recipe: values for recipe, values in done.items() if values}
    if not tried:
        return None
    # One lucky seed must not beat a rival that all seeds are known of.
    shared = set.intersection(*(set(values) for values in tried.values()))
    better = direction(next(iter(by_recipe.values()))[0]["primary"])
    scored = []
    for recipe, values in tried.items():
        mean = statistics.fmean(value for seed, value in values.items() if seed in shared or not shared)
        scored.append((-better * mean, float(family_of(recipe)[1] or 0), recipe))
    return min(scored)[2]


def _dev(record: Mapping[str, Any]) -> float | None:
    return (record["dev"] or {}).get(record["primary"]) if record["status"] == "ok" else None
