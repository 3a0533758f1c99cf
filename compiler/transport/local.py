"""This machine as one that takes files and runs scripts, like those far away."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from mnv3c.compiler.transport.machine import marked, require_end
from mnv3c.compiler.transport.process import ProcessRunner
from mnv3c.graph.errors import MissingError


class HostMachine:
    """This machine."""

    place = "host"
    folder_root = '"${TMPDIR:-/tmp}"'

    def __init__(self) -> None:
        self._runner = ProcessRunner()

    def put(self, files: Mapping[str, Path], folder: str) -> None:
        """Copy files. Raises MissingError where there is no room."""
        try:
            for name, source in files.items():
                part = Path(folder) / f"{name}.part"
                shutil.copyfile(source, part)
                part.chmod(0o755)
                part.replace(Path(folder) / name)
        except OSError as error:
            raise MissingError(f"cannot write to {folder}: {error.strerror}") from error

    def shell(self, script: str, limit_s: float) -> str:
        done = self._runner.run(("/bin/sh", "-s"), marked(script).encode(), limit_s)
        return require_end(done, limit_s)

    def interrupt(self) -> None:
        self._runner.interrupt()
