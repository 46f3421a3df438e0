"""Recipes that are known without a definition, and families of recipes: one recipe at several learning rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.decoders import Recipe

PAPER = Recipe(batch=32, learning_rate=1e-5, weight_decay=1e-2)
"""AdamW, learning rate 1e-5, weight decay 1e-2, batches of 32: what is known of arXiv 2411.08742."""

TUNED = tuple(Recipe(batch=32, learning_rate=rate, weight_decay=1e-2) for rate in (1e-5, 3e-5, 1e-4, 3e-4))
"""The same at four learning rates, of which each arm takes the one that is best on dev: equal tuning for both."""

RECIPES: dict[str, tuple[Recipe, ...]] = {"default": (Recipe(),), "paper": (PAPER,), "tuned": TUNED}
"""Recipes by name; a family has several members."""


def members(value: Any) -> Any:
    """The recipes that one entry of a space file means: a list of learning rates makes a family."""
    rates = value.get("learning_rate") if isinstance(value, Mapping) else None
    return [{**value, "learning_rate": rate} for rate in rates] if isinstance(rates, list) else [value]


def member_name(family: str, recipe: Recipe, recipes: Sequence[Recipe]) -> str:
    """The name of a recipe in cells: `tuned@3e-05`, or just the name where it has no siblings."""
    return family if len(recipes) == 1 else f"{family}@{recipe.learning_rate:g}"


def family_of(name: str) -> tuple[str, str | None]:
    """The family of a recipe's name, and its learning rate as text; None for a recipe without siblings."""
    family, at, rate = name.partition("@")
    return family, rate if at else None
