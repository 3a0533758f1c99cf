"""An Android device by the system's adb. The bench is a static executable, so it runs there as it is."""

import secrets
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mnv3c.compiler.transport.machine import DeviceLostError, marked, place_script, placed, require_end
from mnv3c.compiler.transport.process import ProcessRunner
from mnv3c.graph.errors import MissingError

_START_S = 30.0
_SLOWEST_BYTES_PER_S = 500e3
_NO_SPACE = ("No space left", "Permission denied", "Read-only file system")


class AdbMachine:
    """The device with this serial, or address, as `adb devices` lists it."""

    # The one folder where adb's user may write and run programs.
    folder_root = "/data/local/tmp"

    def __init__(self, serial: str) -> None:
        self.place = f"adb:{serial}"
        self._command = ("adb", "-s", serial)
        self._runner = ProcessRunner()

    def put(self, files: Mapping[str, Path], folder: str) -> None:
        part = f"{folder}/part"
        self._sh(f"rm -rf {shlex.quote(part)}; mkdir {shlex.quote(part)}", _START_S)
        for name, source in files.items():
            self._push(source, f"{part}/{name}")
        if not placed(self._sh(place_script(folder), _START_S)):
            raise MissingError(f"{self.place}: cannot write to {folder}")

    def shell(self, script: str, limit_s: float) -> str:
        # Old devices take no long command lines, and echo what comes by stdin.
        remote = f"{self.folder_root}/mnv3c-{secrets.token_hex(8)}.sh"
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".sh") as file:
            file.write(f"rm -f {remote}\n{script}")
            file.flush()
            self._push(Path(file.name), remote)
        return self._sh(f"sh {remote}", limit_s)

    def interrupt(self) -> None:
        self._runner.interrupt()

    def _push(self, source: Path, destination: str) -> None:
        limit_s = _START_S + source.stat().st_size / _SLOWEST_BYTES_PER_S
        done = self._runner.run((*self._command, "push", str(source), destination), b"", limit_s)
        if done.returncode == 0:
            return
        lines = (done.stderr or done.stdout).strip().splitlines()
        reason = lines[-1] if lines else f"adb push ended with status {done.returncode}"
        if any(text in reason for text in _NO_SPACE):
            raise MissingError(f"{self.place}: {reason}")
        raise DeviceLostError(reason)

    def _sh(self, command: str, limit_s: float) -> str:
        limit_s += _START_S
        return require_end(self._runner.run((*self._command, "shell", marked(command)), b"", limit_s), limit_s)
