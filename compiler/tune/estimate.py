"""What one call of a kernel costs by LLVM's scheduling model: an ESTIMATE that knows no caches and no memory.

Where it was counted how often each basic block runs, the cycles are the sum over the code's pieces, each as often as
it ran, at the cycles that llvm-mca gives to one of many repetitions. A piece is an innermost loop or a run of
instructions without a branch. Pieces that hardly count, and helpers outside the kernel, take their instructions over
the issue width. No piece is faster than the FMA pipes of the device's file allow: LLVM's model of Cortex-A55 has one
too many.

Where nothing could be counted, the cycles are those per FMA of the kernel's innermost loops, for all of its
multiply-accumulates; what happens outside of these loops is not in them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from mnv3c.compiler.machine_code import Function, Instruction, LlvmTools, ModelledCycles, loops_of
from mnv3c.compiler.tune.emulated import Executed
from mnv3c.targets.device import CpuDevice

LABEL = "ESTIMATE of llvm-mca's scheduling model (no caches, no memory): not a latency"

# Pieces with less than this share of the instructions are not given to llvm-mca.
_LEAST_SHARE = 0.002


@dataclass(frozen=True)
class Piece:
    """Instructions that run one after the other, so many times."""

    code: tuple[Instruction, ...]
    executions: int

    @property
    def instructions(self) -> int:
        """Instructions retired."""
        return len(self.code) * self.executions


@dataclass(frozen=True)
class CycleModel:
    """The scheduling model of a device."""

    tools: LlvmTools
    device: CpuDevice
    triple: str

    @property
    def name(self) -> str:
        """The processor whose model LLVM is asked for: the device's own, or the one that stands in for it."""
        return self.device.llvm.scheduling_model

    def of_call(self, function: Function, executed: Executed) -> float:
        """Cycles of one call that has executed these blocks."""
        pieces = pieces_of(function, executed)
        least = _LEAST_SHARE * executed.instructions
        hot = [piece for piece in pieces if piece.instructions >= least]
        found = self._modelled([piece.code for piece in hot])
        cycles = sum(
            piece.executions * self._bounded(piece.code, model) for piece, model in zip(hot, found, strict=True)
        )
        rest = executed.instructions - sum(piece.instructions for piece in hot)
        return cycles + rest / found[0].issue_width if found else float(rest)

    def of_macs(self, function: Function, macs: int) -> float | None:
        """Cycles of so many multiply-accumulates in the function's innermost loops; None where these have none."""
        loops = [loop for loop in loops_of(function.section) if any(each.is_fma for each in loop)]
        if not loops or not macs:
            return None
        cycles = (
            self._bounded(loop, model) / _fmas(loop) for loop, model in zip(loops, self._modelled(loops), strict=True)
        )
        return fmean(cycles) * macs / self.device.lanes()

    def _modelled(self, parts: Sequence[tuple[Instruction, ...]]) -> tuple[ModelledCycles, ...]:
        return self.tools.modelled_each(parts, self.triple, self.name)

    def _bounded(self, code: Sequence[Instruction], modelled: ModelledCycles) -> float:
        return max(modelled.cycles, _fmas(code) / self.device.vector.fma_pipes)


def pieces_of(function: Function, executed: Executed) -> tuple[Piece, ...]:
    """The parts of the function's section that were executed; blocks elsewhere belong to none."""
    code = function.section
    counts = _counts(function, executed)
    loops = [range(start, start + len(loop)) for loop in loops_of(code) for start in [_index(code, loop[0])]]
    # A loop that is mostly left from its middle is no loop.
    loops = [loop for loop in loops if counts[loop[-1]] and 2 * counts[loop[-1]] >= counts[loop[0]]]
    inside = {index for loop in loops for index in loop}
    straight = (run for run in _straight(code, counts, inside) if counts[run[0]])
    runs = [*loops, *straight]
    return tuple(Piece(code[run[0] : run[-1] + 1], counts[run[-1]]) for run in sorted(runs, key=lambda run: run[0]))


def _counts(function: Function, executed: Executed) -> list[int]:
    """How often each instruction of the section was executed."""
    code = function.section
    index = {instruction.address: i for i, instruction in enumerate(code)}
    changes = [0] * (len(code) + 1)
    for block in executed.blocks:
        first = index.get(block.address - executed.address + function.offset)
        if first is not None:
            changes[first] += block.executions
            changes[min(first + block.instructions, len(code))] -= block.executions
    counts, running = [], 0
    for change in changes[:-1]:
        running += change
        counts.append(running)
    return counts


def _straight(code: Sequence[Instruction], counts: Sequence[int], inside: set[int]) -> Iterator[range]:
    """Runs of instructions outside of the loops that nothing jumps into or out of, but at their ends."""
    entries = {instruction.jumps_to for instruction in code}
    begin = 0
    for i in range(1, len(code) + 1):
        ends = i == len(code) or counts[i] != counts[begin] or (i in inside) != (begin in inside)
        if ends or code[i].address in entries or code[i - 1].jumps_to is not None:
            if begin not in inside:
                yield range(begin, i)
            begin = i


def _index(code: Sequence[Instruction], instruction: Instruction) -> int:
    return next(i for i, other in enumerate(code) if other.address == instruction.address)


def _fmas(code: Sequence[Instruction]) -> int:
    return sum(instruction.is_fma for instruction in code)
