"""How a benchmark that is a command runs and ends."""

import sys
from collections.abc import Callable

import typer

from mnv3c.graph.errors import MissingError, UserError

_AGREE_MS = 1e-6


def run_command_line(name: str, command: Callable[..., None]) -> None:
    """Run the command; exit 2 for wrong input and 3 for what is missing, with one line on stderr."""
    application = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    application.command()(command)
    try:
        application()
    except (UserError, MissingError) as error:
        print(f"{name}:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 3)


def judge_difference(what: str, worst_ms: float) -> None:
    """Print what was compared, and whether two readers of a table agree to 1e-6 ms. Exits with 1 where they do not."""
    agree = worst_ms <= _AGREE_MS
    typer.echo(f"{what}; largest difference {worst_ms:.2g} ms: {'agree' if agree else 'DISAGREE'}")
    if not agree:
        raise typer.Exit(1)
