"""The command `mnv3c`: its sub-commands, its exit codes, and one line instead of a traceback."""

import os
import sys
import traceback
from typing import Annotated

import typer

from mnv3c.cli.compile import compile_command
from mnv3c.cli.graph import graph
from mnv3c.cli.run import run
from mnv3c.cli.targets import targets
from mnv3c.graph.errors import MissingError, UserError

app = typer.Typer(
    name="mnv3c",
    help="Compile, run and examine MobileNetV3 on edge processors.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("graph")(graph)
app.command("compile")(compile_command)
app.command("run")(run)
app.command("targets")(targets)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mnv3c {version('mnv3c')}")
        raise typer.Exit


@app.callback(epilog="Example: mnv3c compile --target arm64")
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something goes wrong.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Compile, run and examine MobileNetV3 on edge processors."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 the input is wrong, 3 something outside is missing, 1 a defect of ours."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        app(words)
    except (UserError, MissingError) as error:
        _report(error, words)
        sys.exit(2 if isinstance(error, UserError) else 3)
    except KeyboardInterrupt:
        print("mnv3c: interrupted; finished work is kept", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (a pager, head) has gone; what is left to say has no one to hear it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        _report(error, words)
        print("mnv3c: this is a defect of mnv3c; --debug shows where", file=sys.stderr)
        sys.exit(1)


def _report(error: Exception, words: list[str]) -> None:
    if "--debug" in words:
        traceback.print_exc()
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"mnv3c: {text}", file=sys.stderr)
