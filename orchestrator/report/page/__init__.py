"""The report page: a matrix as one HTML text that needs neither a network nor a server.

Tables are written here, so that the page can be read without its script; the script sorts and filters them, shows what
is known of a cell, and browses the errors. A content security policy lets no other script run and nothing be loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.matrix import Matrix


def render(matrix: Matrix, mistakes: Sequence[Mapping[str, Any]] = ()) -> str:
    """The whole page.

    Args:
        matrix: with statistics, where intervals and differences are to be shown.
        mistakes: what `orchestrator.report.mistakes` gives, one dict a column.
    """
    from orchestrator.report.page import assets, scales
    from orchestrator.report.page.context import context
    from orchestrator.report.page.payload import as_json, payload
    from orchestrator.report.places import places

    lines = places(matrix.layout, matrix.cells)
    script, style = assets.script(), assets.style() + scales.css()
    page = assets.template().render(
        **context(matrix, lines, mistakes),
        policy=assets.policy(script),
        script=script,
        style=style,
        data=as_json(payload(matrix, lines, mistakes)),
    )
    return page.encode("utf-8", "replace").decode("utf-8")  # half of a surrogate pair, say in a path, has no UTF-8
