"""Counting what a kernel executes: each of its basic blocks, in a program that an emulator runs with a plugin of ours.

What a kernel executes depends on its shapes alone, so the counts are exact. Their time is the emulator's and of no use.
"""

import platform
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mnv3c.compiler.build import KernelJob
from mnv3c.compiler.transport.emulator import Emulator
from mnv3c.compiler.zig import Zig
from mnv3c.graph.errors import MissingError

_HERE = Path(__file__).parent
_RUNTIME = _HERE.parent / "runtime"
# Versions of QEMU's plugin interface that the plugin fits.
_PLUGIN_VERSIONS = (1, 2)
_LIMIT_S = 60.0


class CountError(Exception):
    """A kernel's program failed under the emulator; the message says how."""


@dataclass(frozen=True)
class Block:
    """A basic block as the emulator cuts them: so many `instructions` from `address`, run `executions` times."""

    address: int
    instructions: int
    executions: int


@dataclass(frozen=True)
class Executed:
    """What one call of a kernel, whose function lies at `address`, has executed; the kernel's helpers included."""

    address: int
    blocks: tuple[Block, ...]

    @property
    def instructions(self) -> int:
        """Instructions retired."""
        return sum(block.instructions * block.executions for block in self.blocks)


@dataclass(frozen=True)
class CountingProgram:
    """A program that holds kernels, and the emulator that runs it with the plugin."""

    command: tuple[str, ...]
    kernels: tuple[KernelJob, ...]

    def run(self, job: KernelJob, buffer_bytes: Sequence[int]) -> Executed:
        """Call a kernel once with buffers of so many bytes. Raises CountError where it crashes or never ends."""
        words = (str(self.kernels.index(job)), *map(str, buffer_bytes))
        try:
            # A group of its own: Ctrl-C in a terminal shall not look like a crash of the kernel.
            done = subprocess.run(
                (*self.command, *words), capture_output=True, text=True, timeout=_LIMIT_S, process_group=0, check=False
            )
        except subprocess.TimeoutExpired:
            raise CountError(f"took longer than {_LIMIT_S:.0f} s under the emulator") from None
        rows = [line.split() for line in done.stdout.splitlines()]
        addresses = [int(row[1], 16) for row in rows if row[0] == "kernel"]
        if done.returncode != 0 or not addresses:
            raise CountError(f"exit status {done.returncode} under the emulator")
        blocks = (Block(int(row[1], 16), int(row[2]), int(row[3])) for row in rows if row[0] == "block")
        return Executed(addresses[0], tuple(sorted(blocks, key=lambda block: block.address)))


class Counter:
    """Links kernels into counting programs, in `folder`; `message` is told what takes long.

    Raises MissingError where the emulator takes no plugins: QEMU can be built without them, and that from PyPI is.
    """

    def __init__(
        self, emulator: Emulator, triple: str, folder: Path, message: Callable[[str], None] = lambda text: None
    ) -> None:
        self._emulator, self._triple, self._folder, self._message = emulator, triple, folder.resolve(), message
        self._programs = 0
        self._caller = ""
        self._plugin = self._working_plugin()

    def link(self, objects: dict[KernelJob, Path]) -> CountingProgram:
        """One program with all kernels. Raises LinkError."""
        self._programs += 1
        with tempfile.TemporaryDirectory(dir=self._folder) as work:
            zig = self._zig(Path(work))
            table = Path(work) / "kernels.c"
            table.write_text(_table([job.symbol for job in objects]), encoding="utf-8")
            if not self._caller:
                compiled = zig.run(self._triple, ("-c", f"-I{_RUNTIME}", str(_HERE / "call_once.c")), "call_once.o")
                self._caller = str(compiled.replace(self._folder / compiled.name))
            parts = (f"-I{_RUNTIME}", str(table), self._caller, *(str(path.resolve()) for path in objects.values()))
            program = zig.link(self._triple, ("-static", *parts), f"count-{self._programs}")
            kept = program.replace(self._folder / program.name)
        return CountingProgram((*self._emulator.command, "-plugin", self._plugin, str(kept)), tuple(objects))

    def _working_plugin(self) -> str:
        self._plugin = ""
        program = Path(self.link({}).command[-1])
        for version in _PLUGIN_VERSIONS:
            plugin = str(self._compiled(version))
            command = (*self._emulator.command, "-plugin", plugin, str(program))
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0 and done.stdout.startswith("here"):
                return plugin
        raise MissingError(f"{self._emulator.command[0]} takes no plugins; Debian's qemu-user does")

    def _compiled(self, version: int) -> Path:
        with tempfile.TemporaryDirectory(dir=self._folder) as work:
            source = str(_HERE / "block_counts.c")
            options = ("-shared", f"-DPLUGIN_VERSION={version}", "-Wl,--allow-shlib-undefined", source)
            plugin = self._zig(Path(work)).link(f"{platform.machine()}-linux-gnu", options, f"blocks-{version}.so")
            return plugin.replace(self._folder / plugin.name)

    def _zig(self, work: Path) -> Zig:
        return Zig(work, self._message)


def _table(symbols: Sequence[str]) -> str:
    """A C file with the table of kernels that call_once.c reads."""
    names = [f"__tvm_ffi_{symbol}" for symbol in symbols]
    declared = [f"extern TVMKernel {name};" for name in names]
    table = f"TVMKernel* const mnv3c_kernels[] = {{{', '.join([*names, '(TVMKernel*)0'])}}};"
    return "\n".join(
        ['#include "tvm_abi.h"', *declared, table, f"const unsigned mnv3c_kernel_count = {len(names)};", ""]
    )
