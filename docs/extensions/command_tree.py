"""The directive `commands`: the help of every command, as the command line itself gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

WIDTH = 84
"""Characters a line."""


class Commands(SphinxDirective):
    """A section for each command with its help in plain text."""

    def run(self) -> list[nodes.Node]:
        import typer

        from orchestrator.cli import app

        tree = typer.main.get_command(app)
        return [self._section(name, command) for name, command in tree.commands.items()]

    def _section(self, name: str, command: Any) -> nodes.section:
        command.rich_markup_mode = None  # boxes and colours are for terminals
        with command.make_context(f"tokengrid {name}", [], resilient_parsing=True, terminal_width=WIDTH) as context:
            text = nodes.literal_block("", command.get_help(context), language="none")
        return nodes.section("", nodes.title("", f"Options of {name}"), text, ids=[f"options-of-{name}"])


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
