"""Static features of a kernel, counted in its OpenCL C: what a cost model can know before anything runs.

Every statement counts as often as its loops run it, conditions as if they held. Loads and stores are those of global
memory, caches or not; `argument_bytes` is the least that has to move, each buffer once.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from mnv3c.targets.gpu.builder import LANES
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.kernel import GpuCandidate
from mnv3c.targets.gpu.opencl import KernelSource

# Registers of a work item up to which a compute unit runs as many of them as it can.
FREE_REGISTERS = 32
_BYTES = {"float4": 16, "half4": 8, "float": 4, "half": 2}
_LOOP = re.compile(r"for \(int \w+ = 0; \w+ < (\d+); \+\+\w+\) \{$")
_PARAMETER = re.compile(r"__global (\w+)\* restrict (\w+)")
_HALVES = re.compile(r"\bv(load|store)(a?)_half(4?)(?:_rte)?\(")
_OPERATOR = re.compile(r" [-+*/] |\b(?:min|max|exp)\(")
_INTEGERS = re.compile(r"^(?:if|for|const)\b")


@dataclass(frozen=True)
class KernelFeatures:
    """One launch. Operations are of floats, a vector's four counted as four, an addition and a product each as one.

    `waits` is how often a work item waits for loads, one time after another: once for all that a body of a loop loads,
    as often as the loop runs.
    """

    work_items: int
    work_groups: int
    operations: int
    load_bytes: int
    store_bytes: int
    argument_bytes: int
    waits: int
    registers: int
    local_memory_bytes: int
    occupancy: float

    @property
    def reuse(self) -> float:
        """Bytes loaded and stored for each that has to move: what registers leave to the caches."""
        return (self.load_bytes + self.store_bytes) / self.argument_bytes


def kernel_features(candidate: GpuCandidate, source: KernelSource, device: GpuDevice) -> KernelFeatures:
    """Count what the launch of a candidate's kernel does; `source` is that kernel."""
    items = math.prod(source.global_size)
    pointers = {name: _BYTES[kind] for kind, name in _PARAMETER.findall(source.source.partition("{\n")[0])}
    operations = loads = stores = 0
    waits: dict[int, int] = {}
    for body, times, statement in _statements(source.source):
        read, written, rest = _memory(statement, pointers)
        if read:
            waits[body] = times
        loads += times * read
        stores += times * written
        if not _INTEGERS.match(rest):
            operations += times * LANES * len(_OPERATOR.findall(rest))
    return KernelFeatures(
        work_items=items,
        work_groups=items // math.prod(source.local_size),
        operations=operations * items,
        load_bytes=loads * items,
        store_bytes=stores * items,
        argument_bytes=_argument_bytes(candidate),
        waits=sum(waits.values()),
        registers=candidate.registers,
        local_memory_bytes=candidate.local_memory_bytes,
        occupancy=_occupancy(candidate.registers, items, device),
    )


def _statements(source: str) -> Iterator[tuple[int, int, str]]:
    """Statements, each with the number of the loop whose body it is in (0: none), and how often a work item runs it."""
    opened = [(0, 1)]
    for number, line in enumerate(source.partition("{\n")[2].splitlines(), 1):
        statement = line.strip()
        loop = _LOOP.match(statement)
        if statement.startswith("}"):
            opened.pop()
        if statement.endswith("{"):
            opened.append((number, opened[-1][1] * int(loop[1])) if loop else opened[-1])
        elif not statement.startswith("}"):
            yield (*opened[-1], statement)


def _memory(statement: str, pointers: dict[str, int]) -> tuple[int, int, str]:
    """Bytes read and written in global memory, and the statement without the integers that say where."""
    read = written = 0
    for way, _, four in _HALVES.findall(statement):
        size = 2 * (LANES if four else 1)
        read, written = (read + size, written) if way == "load" else (read, written + size)
    for name, size in pointers.items():
        stored = int(statement.startswith(f"{name}["))
        read += size * (len(re.findall(rf"\b{name}\[", statement)) - stored)
        written += size * stored
    return read, written, _without_places(statement)


def _without_places(statement: str) -> str:
    """The statement without what stands in square brackets, in those of a load, or behind the value of a store."""
    kept: list[str] = []
    opened: list[bool] = []
    stores = statement.startswith("vstore")
    for index, character in enumerate(statement):
        if character in "[(":
            load = character == "(" and re.search(r"\bvload\w+$", statement[:index]) is not None
            opened.append(character == "[" or load)
        if stores and character == "," and len(opened) == 1:
            break
        if not any(opened):
            kept.append(character)
        if character in "])" and opened:
            opened.pop()
    return "".join(kept)


def _argument_bytes(candidate: GpuCandidate) -> int:
    stored = candidate.precision.storage_bytes
    return sum(p.elements * (stored if p.place == "stored" else 4) for p in candidate.buffers())


def _occupancy(registers: int, items: int, device: GpuDevice) -> float:
    """The share of the work items that a compute unit can run at once which registers and the grid let it run."""
    most = device.cores.registers_per_unit // FREE_REGISTERS
    resident = device.cores.registers_per_unit // max(registers, FREE_REGISTERS)
    return min(resident, math.ceil(items / device.cores.compute_units)) / most
