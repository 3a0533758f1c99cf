"""`zig cc`, the cross linker that comes from pip."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import platformdirs

from mnv3c.graph.errors import MissingError

COMMON_FLAGS = (
    "-O2",
    "-s",  # for each link too: zig keeps one libc per setting of this flag
    "-std=gnu11",
    "-fPIC",
    "-fno-sanitize=all",  # zig turns sanitizers on otherwise
    "-fno-stack-protector",
)
_FULL_DISK_BYTES = 1 << 20


class LinkError(Exception):
    """The cross linker refused; the message is its first error line. A defect of ours."""


@dataclass(frozen=True)
class Zig:
    """Runs `zig cc` for one artifact in `work`, a folder that is thrown away afterwards.

    libc and its like are built once and kept in the user's cache folder. What belongs to one artifact, with a copy of
    its weights, is cached in `work` and goes with it. ZIG_GLOBAL_CACHE_DIR and ZIG_LOCAL_CACHE_DIR override both.
    """

    work: Path
    progress: Callable[[str], None]

    def run(self, target: str, arguments: Sequence[str], output: str) -> Path:
        """Compile or link `arguments` for `target`, a zig triple, into the file `work / output`.

        Raises `MissingError` without zig or without space, and `LinkError` with the first error line otherwise.
        """
        if importlib.util.find_spec("ziglang") is None:
            raise MissingError("the cross linker zig is missing: pip install ziglang")
        command = (sys.executable, "-m", "ziglang", "cc", "-target", target, *COMMON_FLAGS, *arguments, "-o", output)
        environment = self._environment()
        result = subprocess.run(
            command, cwd=self.work, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
        if result.returncode != 0:
            raise self._error(output, result.stderr)
        return self.work / output

    def link(self, target: str, arguments: Sequence[str], output: str) -> Path:
        """Do as `run` does and tell the user when `target`'s libc has to be built first, which takes a while."""
        marker = self._global_cache() / f"mnv3c-{version('ziglang')}-{target}"
        if not marker.exists():
            what, how_long = ("musl", "two minutes") if "musl" in target else ("libc stubs", "twenty seconds")
            self.progress(f"building {what} for {target} once; up to {how_long}")
        path = self.run(target, arguments, output)
        marker.touch()
        return path

    def _global_cache(self) -> Path:
        default = Path(platformdirs.user_cache_dir("mnv3c")) / "zig"
        return Path(os.environ.get("ZIG_GLOBAL_CACHE_DIR") or default)

    def _environment(self) -> dict[str, str]:
        local = os.environ.get("ZIG_LOCAL_CACHE_DIR") or str(self.work / "zig-cache")
        shared = self._global_cache()
        try:
            shared.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MissingError(f"cannot write zig's cache {shared} (ZIG_GLOBAL_CACHE_DIR): {error.strerror}") from error
        return {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(shared), "ZIG_LOCAL_CACHE_DIR": local}

    def _error(self, output: str, messages: str) -> Exception:
        # The linker writes through a memory map: on a full disk it may die without a word.
        silent = not messages.strip() and shutil.disk_usage(self.work).free < _FULL_DISK_BYTES
        if silent or "NoSpaceLeft" in messages or "No space left" in messages:
            return MissingError(f"no space left for linking {output} in {self.work.parent} or {self._global_cache()}")
        lines = [line.strip() for line in messages.splitlines() if line.strip()]
        first = next((line for line in lines if "error:" in line), lines[0] if lines else "zig gave no message")
        return LinkError(f"linking {output}: {first}")
