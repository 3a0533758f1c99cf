"""The command `mnv3c`: its sub-commands, its exit codes, and one line instead of a traceback."""

import errno
import os
import sys
import traceback
from typing import Annotated

import typer

from mnv3c.cli.calibrate import calibrate
from mnv3c.cli.compile import compile_command
from mnv3c.cli.emulate import emulate_command
from mnv3c.cli.graph import graph
from mnv3c.cli.lut import lut
from mnv3c.cli.measure import measure
from mnv3c.cli.predict import predict
from mnv3c.cli.profiles import profiles
from mnv3c.cli.records import records
from mnv3c.cli.run import run
from mnv3c.cli.search import search
from mnv3c.cli.targets import targets
from mnv3c.cli.tune import tune
from mnv3c.cli.validate import validate
from mnv3c.graph.errors import MissingError, UserError

_INTERRUPTED = 128 + 2  # as a shell reports a process that SIGINT ended
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

app = typer.Typer(
    name="mnv3c",
    help="Compile, run and examine MobileNetV3 on edge processors.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("graph")(graph)
app.command("compile")(compile_command)
app.command("run")(run)
app.command("tune")(tune)
app.command("emulate")(emulate_command)
app.command("measure")(measure)
app.command("calibrate")(calibrate)
app.command("predict")(predict)
app.command("validate")(validate)
app.command("search")(search)
app.command("profiles")(profiles)
app.command("lut")(lut)
app.add_typer(records, name="records")
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
    """Run the command line and exit: 0 done, 2 wrong input, 3 something outside is missing, 1 a defect of ours."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        sys.exit(_run([word for word in words if word != "--debug"] or ["--help"]))
    except (SystemExit, BrokenPipeError) as leaving:
        if not isinstance(leaving.__context__ or leaving, BrokenPipeError):
            raise
        # The reader of our output (a pager, head) has gone; what is left to say has no one to hear it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if "--debug" in words:
            traceback.print_exc()
        text, code = _explained(error)
        print("mnv3c:", " ".join(text.split()), file=sys.stderr)
        sys.exit(code)


def _run(words: list[str]) -> int:
    try:
        code = app(words, prog_name="mnv3c", standalone_mode=False) or 0
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        print("mnv3c: interrupted; finished work is kept", file=sys.stderr)
    return int(code)


def _explained(error: Exception) -> tuple[str, int]:
    """What to say of an error, and the exit code."""
    if isinstance(error, UserError):
        return str(error), 2
    if isinstance(error, MissingError):
        return str(error), 3
    # typer brings click's errors along under a private name.
    if (usage := getattr(error, "format_message", None)) is not None:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "mnv3c"
        return f"{usage().rstrip('.')}; see {command} --help", 2
    if isinstance(error, MemoryError):
        return "this machine has too little memory for it", 3
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        where = f" ({error.filename})" if error.filename else ", here or in the folder for temporary files"
        return f"{error.strerror}{where}", 3
    return f"{type(error).__name__}: {error} (a defect of mnv3c; --debug shows where)", 1
