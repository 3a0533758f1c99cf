"""What every way to a device has in common: it takes files, and runs shell scripts."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from mnv3c.compiler.transport.host import CompletedBench
from mnv3c.compiler.transport.process import was_killed

_PUT = "@put"
_END = "@end"


class DeviceLostError(Exception):
    """The device did not answer, or went away before the script ended: worth another try.

    `stdout` is what it had said until then.
    """

    def __init__(self, reason: str, stdout: str = "") -> None:
        super().__init__(reason)
        self.stdout = stdout


class Machine(Protocol):
    """A machine with a POSIX shell. One call at a time; `interrupt` comes from another thread."""

    @property
    def place(self) -> str:
        """How the user named it, as ssh:board."""

    @property
    def folder_root(self) -> str:
        """Shell text for the folder that a folder of ours can be made in; programs can be run from there."""

    def put(self, files: Mapping[str, Path], folder: str) -> None:
        """Copy programs into a folder that is there, under these names, each whole or not at all.

        Raises DeviceLostError where that may succeed later, and MissingError where it will not.
        """

    def shell(self, script: str, limit_s: float) -> str:
        """Run a script of POSIX sh, and give what it printed; its own exit status means nothing.

        Raises DeviceLostError where the device went away or the script took longer than `limit_s`, and MissingError
        where the tool that reaches it is missing.
        """

    def interrupt(self) -> None:
        """End the call that is running (it raises DeviceLostError) and let go of the device; calls may follow."""


def marked(script: str) -> str:
    """The script, which says at its end that it got there: a lost connection and a status look alike otherwise."""
    return f"{script}\necho {_END}\n"


def require_end(done: CompletedBench, limit_s: float) -> str:
    """What a marked script printed. Raises DeviceLostError where it did not get to its end."""
    text = done.stdout.replace("\r\n", "\n")
    body, end, rest = text.rpartition(f"{_END}\n")
    if end and not rest and (not body or body.endswith("\n")):
        return body
    if was_killed(done):
        raise DeviceLostError(f"no answer within {limit_s:.0f} s", text)
    lines = done.stderr.strip().splitlines()
    raise DeviceLostError(lines[-1] if lines else f"the connection ended (status {done.returncode})", text)


def place_script(folder: str) -> str:
    """Make what lies in FOLDER/part executable and move it into FOLDER; it says `@put` if that went well."""
    return f"cd {shlex.quote(folder)} && chmod 755 part/* && mv -f part/* . && rmdir part && echo {_PUT}"


def placed(text: str) -> bool:
    """Whether `place_script` said that it went well; a talkative login shell may have spoken before."""
    return text.split()[-1:] == [_PUT]
