"""A layer's plain computation under a schedule that a search has found, as a trace of TVM's schedule primitives."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from mnv3c.graph.ops import Conv2d, ConvTranspose2d, Dense
from mnv3c.targets.cpu.computation import computable, computation
from mnv3c.targets.cpu.kernel import CpuKernel
from mnv3c.targets.cpu.lanes import Lanes, device_lanes
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Array, LayerWork
from mnv3c.targets.trace import trace_number

# Of the stack, in one thread; musl gives a thread 128 KiB.
_MOST_LOCAL_BYTES = 32 << 10
_MAIN = "main"


@dataclass(frozen=True)
class Traced(CpuKernel):
    """`trace` is the JSON of an `s_tir.Trace`; empty for loops that keep one sum at a time, right but slow."""

    family: ClassVar[str] = "metaschedule"
    work: LayerWork
    lanes: Lanes
    trace: str = ""

    @property
    def parameters(self) -> Mapping[str, int]:
        """The trace's number."""
        return {"trace": trace_number(self.trace)}

    def pack(self, weights: Mapping[str, Array]) -> tuple[Array, ...]:
        """Weight and bias as the graph has them."""
        if not isinstance(self.work.op, Conv2d | ConvTranspose2d | Dense):
            return ()
        bias = weights.get("bias")
        zeros = np.zeros(self.work.output.channels, np.float32)
        return weights["weight"].ravel(), zeros if bias is None else bias

    def computation(self, symbol: str) -> Any:
        """The plain computation, to be scheduled: a PrimFunc."""
        return computation(self.work, self.lanes, symbol)

    def scheduled(self, trace: str) -> "Traced":
        """The same computation under another trace."""
        return replace(self, trace=trace)

    def build(self, symbol: str) -> Any:
        """The kernel as a TVM PrimFunc.

        Raises ValueError where the trace does not fit the computation, or needs more stack than a thread may have.
        """
        import tvm
        from tvm.s_tir.schedule import Schedule, Trace

        schedule = Schedule(tvm.IRModule({_MAIN: self.computation(_MAIN)}))
        if self.trace:
            Trace.apply_json_to_schedule(json.loads(self.trace), schedule)
        else:
            _one_sum_at_a_time(schedule)
        module = _without_blocks(schedule.mod)
        if (size := _allocated_bytes(module)) > _MOST_LOCAL_BYTES:
            raise ValueError(f"takes {size} bytes of the stack, over {_MOST_LOCAL_BYTES}")
        function = module[_MAIN]
        return function.with_body(_on_the_stack(function.body)).with_attr("global_symbol", symbol)


def traced(work: LayerWork, device: CpuDevice, trace: str = "") -> Traced | None:
    """A layer's computation under a trace; None for a layer that cannot be written so."""
    return Traced(work, device_lanes(device), trace) if computable(work) else None


def _without_blocks(module: Any) -> Any:
    """A scheduled module as plain loops, each tensor of its own cut down to what the loops need at a time."""
    from tvm import s_tir, transform

    passes = [
        s_tir.transform.LowerInitBlock(),
        s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.CompactBufferAllocation(),
        s_tir.transform.LowerOpaqueBlock(),
    ]
    return transform.Sequential(passes)(module)


def _allocated_bytes(module: Any) -> int:
    from tvm import s_tir

    functions = s_tir.analysis.calculate_allocated_bytes(module)
    return sum(int(size) for scopes in functions.values() for size in scopes.values())


def _on_the_stack(statement: Any) -> Any:
    """The statement with its tensors on the stack; TVM would ask for memory anew each time a loop gets to one."""
    from tvm import tirx

    match statement:
        case tirx.AllocBuffer():
            kept = dict(statement.annotations.items())
            return tirx.AllocBuffer(statement.buffer, {**kept, "disable_lower_builtin": tirx.const(True, "bool")})
        case tirx.SeqStmt():
            return tirx.SeqStmt([_on_the_stack(each) for each in statement.seq])
        case tirx.For():
            loop = (statement.loop_var, statement.min, statement.extent, statement.kind)
            body, binding = _on_the_stack(statement.body), statement.thread_binding
            return tirx.For(*loop, body, binding, statement.annotations, statement.step)
        case tirx.AttrStmt():
            body = _on_the_stack(statement.body)
            return tirx.AttrStmt(statement.node, statement.attr_key, statement.value, body)
        case tirx.IfThenElse():
            otherwise = statement.else_case
            branches = [None if each is None else _on_the_stack(each) for each in (statement.then_case, otherwise)]
            return tirx.IfThenElse(statement.condition, *branches)
        case _:
            return statement


def _one_sum_at_a_time(schedule: Any) -> None:
    """Finish each output right after its sum, so that the sums need no memory."""
    blocks = {schedule.get(block).name_hint: block for block in schedule.get_child_blocks(schedule.get_sblock("root"))}
    if "sums" in blocks:
        spatial = len(schedule.get_loops(blocks["output"]))
        schedule.reverse_compute_at(blocks["output"], schedule.get_loops(blocks["sums"])[spatial - 1])
