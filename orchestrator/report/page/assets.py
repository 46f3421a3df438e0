"""The parts of the page that are files here: template, style sheets, scripts; and the policy that allows only these."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template

STYLES = ("page.css", "matrix.css", "mistakes.css")
SCRIPTS = ("dom.js", "matrix.js", "filters.js", "views.js", "card.js", "stages.js", "mistakes.js", "page.js")
"""In the order in which they stand in the page; they share one scope and nothing is global."""


def template() -> Template:
    """The template of the page. Every text that it is given is escaped, unless it is marked as safe there."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_read("template.html"))


def style() -> str:
    """All style sheets."""
    return "\n".join(map(_read, STYLES))


def script() -> str:
    """All scripts, in a scope of their own."""
    return "(() => {\n'use strict';\n" + "\n".join(map(_read, SCRIPTS)) + "\n})();\n"


def policy(script: str) -> str:
    """A content security policy: this very script and no other, nothing from a network.

    Styles may be inline, as figures have them in attributes; they can't load anything either.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return "; ".join(
        (
            *("default-src 'none'", f"script-src 'sha256-{digest}'", "style-src 'unsafe-inline'", "img-src data:"),
            *("media-src 'self' file: data:", "base-uri 'none'", "form-action 'none'"),
        )
    )


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")
