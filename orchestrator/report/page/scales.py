"""The colours of places, as style rules: how far from guessing to the best, and better or worse than the baseline."""

from __future__ import annotations

from collections.abc import Sequence

STEPS = 24
"""Shades of a scale; neighbours can hardly be told apart."""

Colour = Sequence[float]
"""Red, green, blue in 0 … 1."""


def css() -> str:
    """Rules for `.s0` … (a score, guessing to best) and `.d0` … (a difference, worse to better), each with a legible ink."""
    from matplotlib import colormaps

    from orchestrator.report.heatmap import COLOURS

    scales = {"s": COLOURS, "d": colormaps["PuOr"]}
    rules = []
    for prefix, colours in scales.items():
        for step in range(STEPS + 1):
            colour = colours(step / STEPS)[:3]
            rules.append(f".{prefix}{step} {{ background: {_hex(colour)}; color: {ink(colour)}; }}")
        stops = ", ".join(_hex(colours(step / STEPS)[:3]) for step in range(0, STEPS + 1, 3))
        rules.append(f".scale.{prefix} {{ background: linear-gradient(to right, {stops}); }}")
    return "\n".join(rules) + "\n"


def step(score: float) -> int:
    """The shade of a score in 0 … 1."""
    return round(min(1.0, max(0.0, score)) * STEPS)


def ink(colour: Colour) -> str:
    """Black or white, whichever has the higher contrast (WCAG 2.2); on any ground that is at least 4.5 : 1."""
    light = luminance(colour)
    return "#000" if (light + 0.05) / 0.05 > 1.05 / (light + 0.05) else "#fff"


def luminance(colour: Colour) -> float:
    """Relative luminance of an sRGB colour, after WCAG 2.2."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{round(channel * 255):02x}" for channel in colour)
