"""What LLVM's models of arm64 processors say of the pointwise loops that mnv3c compiles: estimates, never latencies.

For each layer or fused group: every innermost loop over the depth, its FMAs and modelled cycles per iteration, and the
share of the FMA slots that it uses. A loop of one row (matrix times vector) is bound by reading weights, not by FMAs.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mnv3c.compiler.build import KernelJob, build_kernels
from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.lower import KernelCall, lower
from mnv3c.compiler.machine_code import Instruction, LlvmTools
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import Conv2d, Dense
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device

# LLVM gives these cores A57's model, with one 128-bit FMLA a cycle where they have two or four: A710's stands in.
STAND_IN = "cortex-a710"
WITHOUT_MODEL = ("cortex-a76", "cortex-a78", "cortex-x1")
LABEL = "ESTIMATE of llvm-mca's scheduling model (no caches, no memory): not a latency"

# fmla vD.4s, vN.4s, vM.s[i]: only products of a panel with one activation have it, a depthwise layer never does.
_BY_ELEMENT = re.compile(r"v\d+\.4s, v\d+\.4s, v\d+\.s\[\d\]")
_Q_REGISTER = re.compile(r"\bq\d+\b")
_FMA_BY_PARTS = ("fmul", "fadd", "dup")


@dataclass(frozen=True)
class Loop:
    """One loop of a kernel: `fma` counts 128-bit FMLAs of one iteration, `by_element` those with a lane as operand.

    `model_pipes` is what LLVM's model has for FMLA, `device_pipes` what the device's file says. A slot is one FMLA that
    one pipe could have begun in one cycle. `spills` are loads and stores of vector registers on the stack.
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

    @property
    def slot_use(self) -> float:
        """Share of the FMA slots that the model gives, 0 to 1."""
        return self.fma / self.model_pipes / self.cycles

    @property
    def device_slot_use(self) -> float:
        """Share of the FMA slots that the device's file gives; above 1 where the model is too fast."""
        return self.fma / self.device_pipes / self.cycles


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
    return tuple((call, tuple(_loops(call, objects[job], device, triple, tools))) for job, call in calls.items())


def model_of(device: CpuDevice) -> str:
    """The processor whose model LLVM is asked for."""
    return STAND_IN if device.llvm.cpu in WITHOUT_MODEL else device.llvm.cpu


def _is_product(op: object) -> bool:
    return isinstance(op, Dense) or (isinstance(op, Conv2d) and op.pointwise)


def _loops(call: KernelCall, path: Path, device: CpuDevice, triple: str, tools: LlvmTools) -> Iterator[Loop]:
    output = call.output.type
    for code in tools.inner_loops(path):
        fma = [i for i, instruction in enumerate(code) if is_fma(instruction)]
        by_element = [i for i in fma if _BY_ELEMENT.match(code[i].operands)]
        if not by_element:
            continue
        modelled = tools.modelled(code, triple, model_of(device))
        yield Loop(
            layer=call.layer,
            shape=call.shape,
            tile=" ".join(f"{key}={value}" for key, value in call.candidate.parameters.items()),
            one_row=output.elements == output.channels,
            model=model_of(device),
            instructions=len(code),
            fma=len(fma),
            by_element=len(by_element),
            by_parts=sum(instruction.mnemonic in _FMA_BY_PARTS for instruction in code),
            spills=sum(is_spill(instruction) for instruction in code),
            cycles=modelled.cycles,
            model_pipes=1.0 / max(modelled.reciprocal_throughputs[i] for i in fma),
            device_pipes=device.vector.fma_pipes,
        )


def is_fma(instruction: Instruction) -> bool:
    """Whether it multiplies and adds four floats."""
    return instruction.mnemonic == "fmla" and ".4s" in instruction.operands


def is_spill(instruction: Instruction) -> bool:
    """Whether it moves a whole vector register to or from the stack."""
    return "[sp" in instruction.operands and _Q_REGISTER.search(instruction.operands) is not None


def table(loops: Sequence[Loop], device: CpuDevice) -> str:
    """Markdown, one row per loop."""
    head = "layer | shape | tile | FMA | by element | spills | cycles | slots, model | slots, device"
    lines = [
        f"{LABEL}; code for {device.name}, model {model_of(device)}, {loops[0].model_pipes:g} FMLA a cycle in the"
        f" model, {device.vector.fma_pipes} in the device's file",
        "",
        f"| {head} |",
        "|---|---|---|" + "---:|" * 6,
    ]
    for loop in loops:
        numbers = f"{loop.fma} | {loop.by_element} | {loop.spills} | {loop.cycles:.2f}"
        shares = f"{100 * loop.slot_use:.0f} % | {100 * loop.device_slot_use:.0f} %"
        lines.append(f"| {loop.layer} | {loop.shape} | {loop.tile} | {numbers} | {shares} |")
    return "\n".join(lines)


def document(loops: Sequence[Loop], device: CpuDevice) -> dict[str, object]:
    """All rows as JSON."""
    rows = [{**asdict(loop), "slot_use": loop.slot_use, "device_slot_use": loop.device_slot_use} for loop in loops]
    return {"label": LABEL, "device": device.name, "model": model_of(device), "rows": rows}


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
    if options.json:
        options.json.write_text(json.dumps(document(loops, device), indent=2) + "\n", encoding="utf-8")


def _refusal(error: Exception, code: int) -> int:
    print(error, file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
