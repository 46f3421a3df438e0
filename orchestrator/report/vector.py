"""Figures as SVG that can stand in a page beside others: text stays text, ids are the figure's own, ink follows the page."""

from __future__ import annotations

import hashlib
import io
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from matplotlib import rc_context

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, SOFT, GROUND = "#000000", "#333333", "#ffffff"
"""The ink of text and axes, of notes, and the paper. Where a figure is themed, the first two are the ink of the page, the
second paler, and the third is its ground: the CSS variable `--ground`, or the canvas of the browser."""
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
FIXED = {"svg.fonttype": "none", "svg.hashsalt": "tokengrid", "svg.image_inline": True}
PLACES = ("d", "x", "y", "transform")
"""Attributes that say where things are; a hundredth of a point is enough."""
NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that a name may have and XML can't."""
OWN_STYLE = "stroke-linejoin: round; stroke-linecap: butt"
"""What matplotlib says in a style sheet, which would hold for the whole page; here it is said of the figure alone."""


def svg(figure: Figure, themed: bool) -> str:
    """A figure as SVG text; the same figure gives the same text.

    The figure's label (`figure.set_label`) becomes its title and name for screen readers.

    Args:
        themed: for use inside HTML: transparent, black ink becomes `currentColor`, and as wide as there is room.
    """
    written = io.StringIO()
    with rc_context(FIXED):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=themed, metadata=nothing)
    text = NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", written.getvalue())
    # The tree is of our own making: no foreign text is parsed here.
    root = ElementTree.fromstring(text)
    _prefix(root, "f" + hashlib.sha256(text.encode()).hexdigest()[:8])
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}style", f"{{{SVG}}}metadata"):
                parent.remove(child)
    root.set("style", OWN_STYLE)
    root.set("role", "img")
    if alt := figure.get_label():
        root.set("aria-label", str(alt))
        title = ElementTree.Element(f"{{{SVG}}}title")
        title.text = str(alt)
        root.insert(0, title)
    if themed:
        _theme(root)
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _prefix(root: ElementTree.Element, prefix: str) -> None:
    """Makes all ids, and what refers to them, the figure's own, and places no finer than can be seen."""
    for element in root.iter():
        for name, value in element.attrib.items():
            if name in PLACES:
                element.set(name, re.sub(r"(\.\d\d)\d+", r"\1", value))
            elif name == "id":
                element.set(name, f"{prefix}-{value}")
            elif name in (f"{{{XLINK}}}href", "href") and value.startswith("#"):
                element.set(name, f"#{prefix}-{value[1:]}")
            elif "url(#" in value:
                element.set(name, value.replace("url(#", f"url(#{prefix}-"))


def _theme(root: ElementTree.Element) -> None:
    width = float(re.sub(r"[^0-9.]", "", root.attrib.pop("width", "0")) or 0)
    root.attrib.pop("height", None)
    # matplotlib leaves out the fill of what is black, so the figure's own fill is the ink.
    root.set("style", f"{OWN_STYLE}; fill: currentColor; width: 100%; max-width: {width * 4 / 3:.0f}px; height: auto")
    for element in root.iter():
        if style := element.get("style"):
            element.set("style", _inked(style) if element is not root else style)


def _inked(style: str) -> str:
    style = re.sub(rf"(fill|stroke): {INK}\b", r"\1: currentColor", style)
    style = re.sub(rf"(fill|stroke): {GROUND}\b", r"\1: var(--ground, Canvas)", style)
    return re.sub(rf"(fill|stroke): {SOFT}\b", r"\1: currentColor; \1-opacity: 0.8", style)
