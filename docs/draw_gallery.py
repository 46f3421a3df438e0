"""Draws the pictures of the documentation anew from a finished demo: `python docs/draw_gallery.py [STORE]`."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

from PIL import Image

from orchestrator import report
from orchestrator.grid import Grid

DOCS = Path(__file__).parent
PIXELS_PER_INCH, WIDEST, COLOURS = 130, 1200, 256


def main(store: str | None = None) -> None:
    """Writes `demo-matrix.png`, and `gallery/<figure>.png` for each figure that the demo has material for."""
    matrix = Grid("demo", store, read_audio=False).matrix(statistics=True)
    if matrix.counts()["ok"] < len(matrix.cells):
        sys.exit(f"the demo is not finished: {matrix.counts()}; run it first: tokengrid run demo")
    for name in report.drawable(matrix):
        path = DOCS / "demo-matrix.png" if name == "heatmap" else DOCS / "gallery" / f"{name}.png"
        drawn = BytesIO()
        report.draw(name, matrix).savefig(drawn, format="png", dpi=PIXELS_PER_INCH, facecolor="white")
        picture = Image.open(drawn).convert("RGB")
        picture.thumbnail((WIDEST, 4 * WIDEST))
        # A palette: half of the bytes, and no difference to be seen.
        picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
        print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
