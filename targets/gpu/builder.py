"""Building GPU kernels statement by statement: what `targets.cpu.builder` is for CPUs.

A kernel is the program of one work item: `k.work_item(axis)` tells it where in the grid it is. Values are vectors of
four channels (`float4`) in buffers of such vectors; accumulators are local vectors of their own, indexed by constants,
so that OpenCL compilers keep them in registers.

TVM is imported when a kernel is built, not when this module is.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from mnv3c.targets.gpu.grid import Grid
from mnv3c.targets.gpu.precision import Precision

Expr = Any
Buffer = Any
Place = Literal["stored", "float32", "caller"]

LANES = 4  # channels of a slice: a vector of four, which every mobile GPU loads at once
_AXES = "xyz"


@dataclass(frozen=True)
class Parameter:
    """An argument of a kernel: `elements` values.

    `stored` values lie in vectors of four, in the precision of storage; `float32` ones (biases) in vectors of four
    floats; `caller` buffers hold plain floats, as the user of the C API handed them over.
    """

    name: str
    elements: int
    place: Place = "stored"


class GpuBuilder:
    """Statements of one kernel, appended in the order of the calls."""

    def __init__(self, precision: Precision) -> None:
        from tvm import tirx
        from tvm.script.ir_builder import IRBuilder
        from tvm.tirx.script.builder import ir

        self._ir, self._tirx, self._name = ir, tirx, IRBuilder.name
        self.precision = precision
        self._groups: list[Expr] = []
        self._items: list[Expr] = []
        self._extents: tuple[int, ...] = ()

    def argument(self, parameter: Parameter) -> Buffer:
        """The next argument of the kernel."""
        halves = parameter.place == "stored" and self.precision.storage == "fp16"
        if halves and self.precision.arithmetic == "fp32":
            # Vectors of halves could only be loaded where the extension is; vloada_half4 takes a pointer to half.
            shape, dtype = parameter.elements, "float16"
        elif parameter.place == "caller":
            shape, dtype = parameter.elements, "float32"
        else:
            shape, dtype = parameter.elements // LANES, "float16x4" if halves else "float32x4"
        return self._ir.arg(parameter.name, self._ir.buffer((shape,), dtype))

    @contextmanager
    def launched(self, grid: Grid) -> Iterator[None]:
        """The body of the kernel, which every work item of the grid runs."""
        with ExitStack() as stack:
            for axis, extent in zip(_AXES, grid.groups, strict=True):
                self._groups.append(stack.enter_context(self._ir.thread_binding(extent, f"blockIdx.{axis}")))
            for axis, extent in zip(_AXES, grid.local, strict=True):
                self._items.append(stack.enter_context(self._ir.thread_binding(extent, f"threadIdx.{axis}")))
            self._extents = grid.local
            yield

    def group(self, axis: int) -> Expr:
        """Which work-group this item is in."""
        return self._groups[axis]

    def item(self, axis: int) -> Expr:
        """Which item of its work-group this one is."""
        return self._items[axis]

    def work_item(self, axis: int) -> Expr:
        """Which item of the whole grid this one is."""
        return self._groups[axis] * self._extents[axis] + self._items[axis]

    @contextmanager
    def serial(self, extent: int, name: str) -> Iterator[Expr]:
        """A loop 0 .. extent - 1."""
        with self._ir.serial(extent) as index:
            self._name(name, index)
            yield index

    @contextmanager
    def when(self, *conditions: Expr) -> Iterator[None]:
        """Statements under conditions that must all hold; without any, just the statements."""
        if not conditions:
            yield
            return
        with self._ir.If(self._tirx.all(*conditions)), self._ir.Then():
            yield

    def choose(self, condition: Expr, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """A two-sided branch."""
        with self._ir.If(condition):
            with self._ir.Then():
                then()
            with self._ir.Else():
                otherwise()

    def barrier(self) -> None:
        """Wait for all items of the work-group, whose writes to local memory are then seen."""
        self._ir.evaluate(self._tirx.call_intrin("void", "tirx.tvm_storage_sync", "shared"))

    def register(self, name: str, lanes: int = LANES, dtype: str = "") -> "Register":
        """A vector, or with one lane a scalar, of this work item's own."""
        dtype = dtype or self.precision.arithmetic_dtype
        return Register(self, self._allocate(name, 1, dtype if lanes == 1 else f"{dtype}x{lanes}", "local"))

    def shared(self, name: str, count: int, lanes: int = LANES) -> Buffer:
        """`count` float32 vectors (scalars, with one lane) in local memory, common to the work-group."""
        return self._allocate(name, count, "float32" if lanes == 1 else f"float32x{lanes}", "shared")

    def _allocate(self, name: str, count: int, dtype: str, scope: str) -> Buffer:
        buffer = self._ir.alloc_buffer((count,), dtype, scope=scope)
        self._name(name, buffer)
        return buffer

    def put(self, buffer: Buffer, index: Expr, value: Expr) -> None:
        """Write an element of local memory or of a register."""
        self._ir.buffer_store(buffer, value, [index])

    def load(self, buffer: Buffer, vector: Expr) -> Expr:
        """Vector number `vector` of an argument, in the type of arithmetic."""
        if buffer.dtype == "float16":
            return self._tirx.call_pure_extern("float32x4", "vloada_half4", vector, buffer.data)
        return self.cast(buffer[vector])

    def store(self, buffer: Buffer, vector: Expr, value: Expr) -> None:
        """Store vector number `vector` of an argument."""
        if buffer.dtype == "float16":
            # Without `_rte` an embedded profile may round towards zero, which moves the means of whole networks.
            self._ir.evaluate(self._tirx.call_extern("void", "vstorea_half4_rte", value, vector, buffer.data))
        else:
            self._ir.buffer_store(buffer, self._converted(value, buffer.dtype), [vector])

    def load_scalar(self, buffer: Buffer, index: Expr) -> Expr:
        """One value of an argument, in the type of arithmetic; `index` counts values."""
        if buffer.dtype == "float16":
            return self._tirx.call_pure_extern("float32", "vload_half", index, buffer.data)
        if buffer.dtype == "float32":
            return self.cast(buffer[index])
        lane = self._tirx.floormod(index, LANES)
        return self.lane_at(self.load(buffer, self._tirx.floordiv(index, LANES)), lane)

    def store_caller(self, buffer: Buffer, index: Expr, value: Expr) -> None:
        """Store one float of a caller's buffer."""
        self._ir.buffer_store(buffer, self._converted(value, "float32"), [index])

    def cast(self, value: Expr) -> Expr:
        """The value in the type of arithmetic."""
        return self._converted(value, self.precision.arithmetic_dtype)

    def wide(self, value: Expr) -> Expr:
        """The value in float32."""
        return self._converted(value, "float32")

    def _converted(self, value: Expr, dtype: str) -> Expr:
        dtype = dtype.partition("x")[0]
        given, _, lanes = str(value.ty.dtype).partition("x")
        return value if given == dtype else self._tirx.Cast(f"{dtype}x{lanes}" if lanes else dtype, value)

    def lane(self, vector: Expr, number: int) -> Expr:
        """One lane of a vector."""
        return self._tirx.Shuffle([vector], [self._tirx.const(number, "int32")])

    def lane_at(self, vector: Expr, number: Expr) -> Expr:
        """A lane whose number is known only when the kernel runs."""
        first, *others = (self.lane(vector, n) for n in range(LANES))
        for n, value in enumerate(others, start=1):
            first = self.select(number == n, value, first)
        return first

    def vector(self, scalars: Sequence[Expr]) -> Expr:
        """Four scalars as a vector."""
        # TVM prints a Shuffle that gathers scalars as `float4(...)`, which is no OpenCL C.
        dtype = str(scalars[0].ty.dtype)
        name = "half4" if dtype == "float16" else "float4"
        return self._tirx.call_pure_extern(f"{dtype}x{LANES}", f"({name})", *scalars)

    def scalar(self, value: float) -> Expr:
        """A constant in the type of arithmetic."""
        return self._tirx.const(value, self.precision.arithmetic_dtype)

    def splat(self, value: Expr | float) -> Expr:
        """A scalar in all four lanes."""
        return self._tirx.Broadcast(self.scalar(value) if isinstance(value, int | float) else value, LANES)

    def select(self, condition: Expr, then: Expr, otherwise: Expr) -> Expr:
        """One of two scalars, both of which are computed."""
        return self._tirx.if_then_else(condition, then, otherwise)

    def minimum(self, a: Expr, b: Expr) -> Expr:
        """Elementwise minimum."""
        return self._tirx.min(a, b)

    def maximum(self, a: Expr, b: Expr) -> Expr:
        """Elementwise maximum."""
        return self._tirx.max(a, b)

    def exp(self, value: Expr) -> Expr:
        """Elementwise exponential."""
        return self._tirx.exp(value)

    def divide(self, a: Expr, b: Expr) -> Expr:
        """a / b, elementwise."""
        return self._tirx.Div(a, b)

    def modulo(self, a: Expr, b: int) -> Expr:
        """a mod b, never negative."""
        return self._tirx.floormod(a, b)

    def quotient(self, a: Expr, b: int) -> Expr:
        """a div b, towards minus infinity."""
        return self._tirx.floordiv(a, b)

    def to_single(self, value: Expr) -> Expr:
        """int32 to float32."""
        return self._tirx.Cast("float32", value)

    def single(self, value: float) -> Expr:
        """A float32 constant."""
        return self._tirx.const(value, "float32")


class Register:
    """A value of this work item's own."""

    def __init__(self, kernel: GpuBuilder, buffer: Buffer) -> None:
        self._kernel, self._buffer = kernel, buffer

    def get(self) -> Expr:
        """The value."""
        return self._buffer[0]

    def set(self, value: Expr) -> None:
        """Assign the value."""
        self._kernel.put(self._buffer, 0, value)


def build_prim_func(
    symbol: str, parameters: Sequence[Parameter], grid: Grid, precision: Precision, body: Callable[..., None]
) -> Any:
    """The PrimFunc `symbol` whose statements `body(kernel, *buffers)` prints."""
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script.builder import ir

    with IRBuilder() as builder, ir.prim_func(s_tir=True):
        ir.func_name(symbol)
        ir.func_attr({"global_symbol": symbol, "tirx.noalias": True})
        k = GpuBuilder(precision)
        buffers = [k.argument(parameter) for parameter in parameters]
        with k.launched(grid):
            body(k, *buffers)
    return builder.get()
