"""tokengrid: thin commands over the Python API. Exit code 0 for success, 1 for failed cells, 2 for the user's errors."""

from __future__ import annotations

import os
import sys

import typer
from rich.markup import escape

from orchestrator.commands import answers, grids, surroundings, trained
from orchestrator.commands.common import err
from orchestrator.errors import UserError

app = typer.Typer(
    help="Which speech features should a speech LLM be fed? Runs the grid and shows the comparison matrix.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (
    *(grids.ls, grids.validate, grids.plan, grids.run),
    *(answers.matrix, answers.report, answers.best, answers.tokens),
    *(trained.predict, trained.export),
    *(surroundings.ui, surroundings.sync, surroundings.doctor),
):
    app.command()(command)
INTERRUPTED = 130


def main() -> None:
    """The entry point: prints the user's errors without a traceback, unless `--debug` asks for it."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        code = app(arguments, standalone_mode=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        code = _explain(error, debug)
    if code == INTERRUPTED:  # typer returns it, too
        err.print("\n[yellow]interrupted[/]: what is finished is kept; the same command goes on from there")
        os._exit(code)  # Ray's threads would hold the process
    sys.exit(code or 0)


def _explain(error: Exception, debug: bool) -> int:
    if debug:
        err.print_exception()
    if hasattr(error, "format_message"):  # typer's and click's own: unknown options, missing arguments
        _complain("error", error.format_message())
        return 2
    if isinstance(error, (UserError, OSError)):
        _complain("error", str(error))
        return 2
    _complain("unexpected error", f"{type(error).__name__}: {error}\nRun it again with --debug for a traceback.")
    return 1


def _complain(what: str, text: str) -> None:
    # Escaped, since rich would take `[a, b]` for markup; unwrapped, so that paths can be copied.
    err.print(f"[red]{what}:[/] {escape(text)}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
