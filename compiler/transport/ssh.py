"""A machine by the system's ssh. It needs POSIX sh and tar there, no sftp server and nothing of ours."""

import io
import re
import shlex
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mnv3c.compiler.transport.host import CompletedBench
from mnv3c.compiler.transport.machine import DeviceLostError, marked, place_script, placed, require_end
from mnv3c.compiler.transport.process import ProcessRunner
from mnv3c.graph.errors import MissingError, UserError

# Nothing may begin with a dash: ssh would take it for an option.
_HOST = r"\[[0-9A-Fa-f:.%a-z]+\]|[^\s:@\[\]-][^\s:@\[\]]*"
_ADDRESS = re.compile(rf"(?:(?P<user>[^@\s-][^@\s]*)@)?(?P<host>{_HOST})(?::(?P<port>\d+))?")
# A connection that says nothing for three times five seconds is gone.
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3", "LogLevel=ERROR")
_SLOWEST_BYTES_PER_S = 100e3
_START_S = 30.0
_SSH_FAILED = 255  # ssh's own exit status, as against the remote command's
# What another try will not change: ssh's own messages, and those of the other side.
_HOPELESS = ("Permission denied (", "Host key verification failed", "Bad configuration option", "bad configuration")
_HOPELESS_THERE = ("No space left", "Permission denied", "Read-only", "Disk quota", "not permitted", "not found")


@dataclass(frozen=True)
class SshAddress:
    """Where: `[user@]host[:port]`, or a name of ~/.ssh/config. An IPv6 address stands in brackets."""

    host: str
    user: str | None = None
    port: int | None = None

    @staticmethod
    def parse(text: str) -> "SshAddress":
        """Raises UserError for what is no address."""
        found = _ADDRESS.fullmatch(text)
        port = int(found["port"]) if found and found["port"] else None
        if found is None or (port is not None and not 0 < port < 65536):
            raise UserError(f"--on: 'ssh:{text}' is not ssh:[USER@]HOST[:PORT]")
        return SshAddress(found["host"].strip("[]"), found["user"], port)


class SshMachine:
    """A machine behind ssh, which must let us in without a question (keys, an agent).

    `options` go to ssh as `-o OPTION`, before ours: ssh takes the first value of each.
    """

    folder_root = '"${TMPDIR:-/tmp}"'

    def __init__(self, address: SshAddress, options: Sequence[str] = (), name: str | None = None) -> None:
        self.place = f"ssh:{name or address.host}"
        words = [word for option in (*options, *_OPTIONS) for word in ("-o", option)]
        words += ["-p", str(address.port)] if address.port is not None else []
        words += ["-l", address.user] if address.user is not None else []
        self._command = ("ssh", "-T", *words, "--", address.host)
        self._runner = ProcessRunner()

    def put(self, files: Mapping[str, Path], folder: str) -> None:
        archive = _archive(files)
        here = shlex.quote(folder)
        script = f"cd {here} && rm -rf part && mkdir part && tar xf - -C part && {place_script(folder)}"
        # The login shell may be any: it is given one word.
        done = self._run(f"sh -c {shlex.quote(script)}", archive, _START_S + len(archive) / _SLOWEST_BYTES_PER_S)
        if not placed(done.stdout):
            lines = done.stderr.strip().splitlines()
            reason = lines[-1] if lines else f"files for {folder} did not arrive whole"
            if any(text in done.stderr for text in _HOPELESS_THERE):
                raise MissingError(f"{self.place}: {lines[0]}")
            raise DeviceLostError(reason)

    def shell(self, script: str, limit_s: float) -> str:
        limit_s += _START_S
        return require_end(self._run("sh -s", marked(script).encode(), limit_s), limit_s)

    def interrupt(self) -> None:
        self._runner.interrupt()

    def _run(self, remote: str, given: bytes, limit_s: float) -> CompletedBench:
        done = self._runner.run((*self._command, remote), given, limit_s)
        if done.returncode == _SSH_FAILED and any(text in done.stderr for text in _HOPELESS):
            raise MissingError(f"{self.place}: {done.stderr.strip().splitlines()[-1]}")
        return done


def _archive(files: Mapping[str, Path]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, source in files.items():
            archive.add(source, name, filter=_plain)
    return stream.getvalue()


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without our user and times: the other side's clock and accounts are its own."""
    return entry.replace(uid=0, gid=0, uname="", gname="", mtime=0, mode=0o755, deep=False)
