"""How a benchmark that is a command runs and ends."""

import sys
from collections.abc import Callable

import typer

from mnv3c.graph.errors import MissingError, UserError


def run_command_line(name: str, command: Callable[..., None]) -> None:
    """Run the command; exit 2 for wrong input and 3 for what is missing, with one line on stderr."""
    application = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    application.command()(command)
    try:
        application()
    except (UserError, MissingError) as error:
        print(f"{name}:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 3)
