"""What LLVM's models of arm64 processors say of the pointwise loops that mnv3c compiles: estimates, never latencies.

For each layer or fused group: every innermost loop over the depth, its FMAs and modelled cycles per iteration, and the
share of the FMA slots that it uses. A loop of one row (matrix times vector) is bound by reading weights, not by FMAs.
Where QEMU takes plugins, each loop also has how often one call of the kernel runs it, and each layer the share of the
slots in all of its loops.
"""

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mnv3c.compiler.build import KernelJob, build_kernels
from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.lower import KernelCall, lower
from mnv3c.compiler.machine_code import Instruction, LlvmTools
from mnv3c.compiler.transport.emulator import find_emulator
from mnv3c.compiler.tune.emulated import Counter
from mnv3c.compiler.tune.estimate import LABEL, pieces_of
from mnv3c.compiler.tune.space import Space
from mnv3c.compiler.tune.static_measure import Offer, buffer_bytes
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import Conv2d, Dense
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device

# fmla vD.4s, vN.4s, vM.s[i]: only products of a panel with one activation have it, a depthwise layer never does.
_BY_ELEMENT = re.compile(r"v\d+\.4s, v\d+\.4s, v\d+\.s\[\d\]")
_Q_REGISTER = re.compile(r"\bq\d+\b")
_FMA_BY_PARTS = ("fmul", "fadd", "dup")


@dataclass(frozen=True)
class Loop:
    """One loop of a kernel: `fma` counts 128-bit FMLAs of one iteration, `by_element` those with a lane as operand.

    `model_pipes` is what LLVM's model has for FMLA, `device_pipes` what the device's file says. A slot is one FMLA that
    one pipe could have begun in one cycle. `spills` are loads and stores of vector registers on the stack.
    `iterations` counts those of one call of the kernel; None where they were not counted.
    """

    layer: str
    shape: str
    tile: str
    one_row: bool
    model: str
    instructions: int
    fma: int
    by_element: int
    by_parts: int
    spills: int
    cycles: float
    model_pipes: float
    device_pipes: int
    iterations: int | None

    @property
    def slot_use(self) -> float:
        """Share of the FMA slots that the model gives, 0 to 1."""
        return self.fma / self.model_pipes / self.cycles

    @property
    def device_slot_use(self) -> float:
        """Share of the FMA slots that the device's file gives; above 1 where the model is too fast."""
        return self.fma / self.device_pipes / self.cycles


# How often each loop runs, by the address of its first instruction.
Iterations = Mapping[int, int]


def static_loops(
    graph: Graph, device: CpuDevice, cache: FileCache, tools: LlvmTools
) -> tuple[tuple[KernelCall, tuple[Loop, ...]], ...]:
    """The calls of a network that multiply matrices, each with its kernel's loops; a kernel used twice comes once."""
    target = load_target(device.target)
    network = lower(run_passes(graph, default_passes()), target, device)
    calls: dict[KernelJob, KernelCall] = {}
    for call in network.calls:
        if any(_is_product(node.op) for node in call.nodes):
            calls.setdefault(KernelJob.of(call.candidate, target.llvm_target(device)), call)
    objects = build_kernels(tuple(calls), cache)
    triple = str(target.llvm_target(device)["mtriple"])
    counted = iterations_of(graph, device, objects, tools)
    return tuple(
        (call, tuple(_loops(call, objects[job], device, triple, tools, counted.get(job))))
        for job, call in calls.items()
    )


def iterations_of(
    graph: Graph, device: CpuDevice, objects: Mapping[KernelJob, Path], tools: LlvmTools
) -> dict[KernelJob, Iterations]:
    """What one call of each kernel runs, counted under emulation; empty, with a line on stderr, where that fails."""
    target = load_target(device.target)
    found: dict[KernelJob, Iterations] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            counter = Counter(
                find_emulator(target.architecture), target.toolchain(device, "linux").static_triple, Path(folder)
            )
        except MissingError as error:
            print(f"iterations are not counted: {error}", file=sys.stderr)
            return found
        program = counter.link(dict(objects))
        offers = {task.candidates[0]: Offer(task, task.candidates[0]) for task in Space(graph, target, device).tasks}
        for job, path in objects.items():
            executed = program.run(job, buffer_bytes(offers[job.candidate], target, device))
            pieces = pieces_of(tools.function(path, f"__tvm_ffi_{job.symbol}"), executed)
            found[job] = {piece.code[0].address: piece.executions for piece in pieces}
    return found


def layer_slot_use(loops: Sequence[Loop]) -> float | None:
    """Share of the device's FMA slots in all loops of a kernel, as often as they run; None where that is not known.

    No loop counts as faster than the device's pipes.
    """
    slots = fma = 0.0
    for loop in loops:
        if loop.iterations is None:
            return None
        fma += loop.iterations * loop.fma
        slots += loop.iterations * max(loop.cycles * loop.device_pipes, loop.fma)
    return fma / slots if slots else None


def _is_product(op: object) -> bool:
    return isinstance(op, Dense) or (isinstance(op, Conv2d) and op.pointwise)


def _loops(
    call: KernelCall, path: Path, device: CpuDevice, triple: str, tools: LlvmTools, counted: Iterations | None
) -> Iterator[Loop]:
    output = call.output.type
    for code in tools.inner_loops(path):
        fma = [i for i, instruction in enumerate(code) if instruction.is_fma]
        by_element = [i for i in fma if _BY_ELEMENT.match(code[i].operands)]
        if not by_element:
            continue
        modelled = tools.modelled(code, triple, device.llvm.scheduling_model)
        yield Loop(
            layer=call.layer,
            shape=call.shape,
            tile=" ".join(f"{key}={value}" for key, value in call.candidate.parameters.items()),
            one_row=output.elements == output.channels,
            model=device.llvm.scheduling_model,
            instructions=len(code),
            fma=len(fma),
            by_element=len(by_element),
            by_parts=sum(instruction.mnemonic in _FMA_BY_PARTS for instruction in code),
            spills=sum(is_spill(instruction) for instruction in code),
            cycles=modelled.cycles,
            model_pipes=1.0 / max(modelled.reciprocal_throughputs[i] for i in fma),
            device_pipes=device.vector.fma_pipes,
            iterations=None if counted is None else counted.get(code[0].address, 0),
        )


def is_spill(instruction: Instruction) -> bool:
    """Whether it moves a whole vector register to or from the stack."""
    return "[sp" in instruction.operands and _Q_REGISTER.search(instruction.operands) is not None


def table(loops: Sequence[Loop], device: CpuDevice) -> str:
    """Markdown, one row per loop."""
    head = "layer | shape | tile | FMA | by element | spills | iterations | cycles | slots, model | slots, device"
    lines = [
        f"{LABEL}; code for {device.name}, model {device.llvm.scheduling_model}, {loops[0].model_pipes:g} FMLA a cycle"
        f" in the model, {device.vector.fma_pipes} in the device's file",
        "",
        f"| {head} |",
        "|---|---|---|" + "---:|" * 7,
    ]
    for loop in loops:
        iterations = "" if loop.iterations is None else loop.iterations
        numbers = f"{loop.fma} | {loop.by_element} | {loop.spills} | {iterations} | {loop.cycles:.2f}"
        shares = f"{100 * loop.slot_use:.0f} % | {100 * loop.device_slot_use:.0f} %"
        lines.append(f"| {loop.layer} | {loop.shape} | {loop.tile} | {numbers} | {shares} |")
    return "\n".join(lines)


def layer_table(found: Sequence[tuple[KernelCall, Sequence[Loop]]]) -> str:
    """Markdown, one row per layer of more than one row."""
    lines = ["| layer | loops | slots of the device, all loops as often as they run |", "|---|---:|---:|"]
    for call, loops in found:
        use = layer_slot_use(loops)
        if use is not None and not loops[0].one_row:
            lines.append(f"| {call.layer} | {len(loops)} | {100 * use:.0f} % |")
    return "\n".join(lines)


def document(found: Sequence[tuple[KernelCall, Sequence[Loop]]], device: CpuDevice) -> dict[str, object]:
    """All rows as JSON, and the layers' shares of the slots."""
    loops = [loop for _, of_call in found for loop in of_call]
    rows = [{**asdict(loop), "slot_use": loop.slot_use, "device_slot_use": loop.device_slot_use} for loop in loops]
    layers = {call.layer: layer_slot_use(loops) for call, loops in found}
    return {
        "label": LABEL,
        "device": device.name,
        "model": device.llvm.scheduling_model,
        "rows": rows,
        "layers": layers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=LABEL)
    parser.add_argument("model", nargs="?", default="large", choices=("large", "small"))
    parser.add_argument("--device", default="cortex-a55", help="a device of the arm64 target")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    options = parser.parse_args()
    try:
        device = find_device(options.device, "arm64")
        found = static_loops(mobilenet_v3(options.model), device, FileCache.default(), LlvmTools.find())
    except UserError as error:
        sys.exit(_refusal(error, 2))
    except MissingError as error:
        sys.exit(_refusal(error, 3))
    loops = [loop for _, of_call in found for loop in of_call]
    print(table(loops, device))
    print()
    print(layer_table(found))
    if options.json:
        options.json.write_text(json.dumps(document(found, device), indent=2) + "\n", encoding="utf-8")


def _refusal(error: Exception, code: int) -> int:
    print(error, file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
