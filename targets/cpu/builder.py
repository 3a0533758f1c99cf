"""Building PrimFuncs loop by loop.

Kernels are written as Python that prints TIR, as a macro assembler prints instructions: Python loops unroll at build
time, `serial` and `parallel` loops stay. Accumulators are local buffers of vector type (`float32x16`) indexed by
constants, which LLVM keeps in registers. See docs/design.md for why this and not TE with a schedule.

TVM is imported when a kernel is built, not when this module is.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from mnv3c.targets.cpu.lanes import Piece

Expr = Any
Buffer = Any
Dtype = Literal["float32", "float16"]

LINE_FLOATS = 16  # a cache line of 64 bytes, as `prefetch` asks for
# A value that is loaded and stored costs about as much as this many multiply-adds.
MOVE = 4
# About two microseconds on one core; waking another one costs as much.
_WORTH_SHARING = 1 << 17


def worth_sharing(work: int) -> bool:
    """Whether so many multiply-adds are worth waking other threads for; a value only moved counts as MOVE of them."""
    return work >= _WORTH_SHARING


@dataclass(frozen=True)
class Parameter:
    """A flat argument of a kernel.

    A `caller` buffer comes straight from the user of the C API and may have any alignment; every other one starts at a
    multiple of 64 bytes.
    """

    name: str
    elements: int
    caller: bool = False
    dtype: Dtype = "float32"


class KernelBuilder:
    """Statements of one kernel, appended in the order of the calls."""

    def __init__(self) -> None:
        from tvm import tirx
        from tvm.tirx.script.builder import ir

        self._ir = ir
        self._tirx = tirx

    def serial(self, extent: Expr) -> AbstractContextManager[Expr]:
        """A loop 0 .. extent - 1."""
        return self._ir.serial(extent)  # type: ignore[no-any-return]

    def parallel(self, extent: Expr, work: int) -> AbstractContextManager[Expr]:
        """A loop whose iterations are shared out among the threads, unless all of it is less work than waking them.

        `work` is about the number of multiply-adds; a value that is only moved counts as MOVE of them.
        """
        loop = self._ir.parallel if worth_sharing(work) else self._ir.serial
        return loop(extent)  # type: ignore[no-any-return]

    @contextmanager
    def when(self, condition: Expr) -> Iterator[None]:
        """Statements under a condition; a condition that folds to true leaves no branch."""
        with self._ir.If(condition), self._ir.Then():
            yield

    def choose(self, condition: Expr, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """A two-sided branch."""
        with self._ir.If(condition):
            with self._ir.Then():
                then()
            with self._ir.Else():
                otherwise()

    def scalar(self, value: float) -> Expr:
        """A float32 constant."""
        return self._tirx.const(value, "float32")

    def splat(self, value: Expr | float, lanes: int) -> Expr:
        """A scalar in every lane."""
        scalar = self.scalar(value) if isinstance(value, int | float) else value
        return scalar if lanes == 1 else self._tirx.Broadcast(scalar, lanes)

    def load(self, buffer: Buffer, index: Expr, lanes: int) -> Expr:
        """`lanes` consecutive floats; those of a float16 buffer are converted."""
        value = buffer[index] if lanes == 1 else buffer.vload([index], f"{buffer.dtype}x{lanes}")
        if buffer.dtype == "float32":
            return value
        return self._tirx.Cast("float32" if lanes == 1 else f"float32x{lanes}", value)

    def store(self, buffer: Buffer, index: Expr, value: Expr, lanes: int) -> None:
        """Store `lanes` consecutive floats."""
        self._ir.buffer_store(buffer, value, [index if lanes == 1 else self._tirx.Ramp(index, 1, lanes)])

    def intrinsic(self, name: str, *arguments: Expr) -> None:
        """A statement that calls one of LLVM's intrinsics that gives nothing back."""
        self._ir.evaluate(self._ir.call_llvm_intrin("void", name, *arguments))

    def integer(self, value: Expr, bits: int) -> Expr:
        """A signed integer of so many bits."""
        return self._tirx.const(value, f"int{bits}")

    def address(self, buffer: Buffer, index: Expr) -> Expr:
        """Where an element lies; the index may lie outside the buffer."""
        return self._ir.address_of(buffer[index])

    def prefetch(self, buffer: Buffer, index: Expr) -> None:
        """Ask for a value's cache line, as far as the second level; the index may lie outside the buffer."""
        read, second_level, data = (self.integer(value, 32) for value in (0, 2, 1))
        self.intrinsic("llvm.prefetch", self.address(buffer, index), read, second_level, data)

    def minimum(self, a: Expr, b: Expr) -> Expr:
        """Elementwise minimum."""
        return self._tirx.min(a, b)

    def maximum(self, a: Expr, b: Expr) -> Expr:
        """Elementwise maximum."""
        return self._tirx.max(a, b)

    def both(self, a: Expr, b: Expr) -> Expr:
        """Logical and."""
        return self._tirx.all(a, b)

    def modulo(self, a: Expr, b: int) -> Expr:
        """a mod b, never negative."""
        return self._tirx.floormod(a, b)

    def quotient(self, a: Expr, b: int) -> Expr:
        """a div b, towards minus infinity."""
        return self._tirx.floordiv(a, b)

    def reinterpret_float(self, bits: Expr, lanes: int) -> Expr:
        """int32 bits as float32."""
        return self._tirx.reinterpret("float32" if lanes == 1 else f"float32x{lanes}", bits)

    def bits(self, value: Expr, lanes: int) -> Expr:
        """The bits of floats as uint32."""
        return self._tirx.reinterpret("uint32" if lanes == 1 else f"uint32x{lanes}", value)

    def bit_mask(self, value: int, lanes: int) -> Expr:
        """A uint32 constant in every lane."""
        scalar = self._tirx.const(value, "uint32")
        return scalar if lanes == 1 else self._tirx.Broadcast(scalar, lanes)

    def bit_and(self, a: Expr, b: Expr) -> Expr:
        """Bitwise and."""
        return self._tirx.bitwise_and(a, b)

    def bit_or(self, a: Expr, b: Expr) -> Expr:
        """Bitwise or."""
        return self._tirx.bitwise_or(a, b)

    def shift_right(self, a: Expr, b: Expr) -> Expr:
        """Bits shifted to the right, zeros coming in."""
        return self._tirx.shift_right(a, b)

    def to_int(self, value: Expr, lanes: int) -> Expr:
        """float32 to int32, towards zero."""
        return self._tirx.Cast("int32" if lanes == 1 else f"int32x{lanes}", value)

    def splat_int(self, value: int, lanes: int) -> Expr:
        """An int32 constant in every lane."""
        scalar = self._tirx.const(value, "int32")
        return scalar if lanes == 1 else self._tirx.Broadcast(scalar, lanes)

    def floor(self, value: Expr) -> Expr:
        """Round towards minus infinity."""
        return self._tirx.floor(value)

    def divide(self, a: Expr, b: Expr) -> Expr:
        """a / b, elementwise."""
        return self._tirx.Div(a, b)

    def registers(self, rows: int, pieces: Sequence[Piece]) -> "Registers":
        """A tile of accumulators, rows x pieces."""
        return Registers(self, rows, pieces)

    def local(self, lanes: int, dtype: str = "float32") -> Buffer:
        """One vector that lives in a register.

        Without the annotation TVM would lower it to a call for workspace memory. So it stays on the stack, and LLVM
        moves it into a register. Storage rewriting has to be off (compiler/build.py): it drops the annotation.
        """
        return self._alloc(1, dtype if lanes == 1 else f"{dtype}x{lanes}")

    def scratch(self, elements: int) -> Buffer:
        """A few floats on the stack."""
        return self._alloc(elements, "float32")

    def _alloc(self, count: int, dtype: str) -> Buffer:
        return self._ir.alloc_buffer((count,), dtype, scope="local", annotations={"disable_lower_builtin": True})

    def set_local(self, buffer: Buffer, value: Expr) -> None:
        """Assign the vector of a local buffer."""
        self._ir.buffer_store(buffer, value, [0])


class Registers:
    """A register tile: rows x pieces vectors, each a local of its own."""

    def __init__(self, kernel: KernelBuilder, rows: int, pieces: Sequence[Piece]) -> None:
        self._kernel = kernel
        self.rows = rows
        self.pieces = tuple(pieces)
        self._vectors = [[kernel.local(piece.lanes) for piece in pieces] for _ in range(rows)]

    def get(self, row: int, piece: int) -> Expr:
        """The vector at (row, piece)."""
        return self._vectors[row][piece][0]

    def set(self, row: int, piece: int, value: Expr) -> None:
        """Assign the vector at (row, piece)."""
        self._kernel.set_local(self._vectors[row][piece], value)

    def clear(self) -> None:
        """Set every vector to zero."""
        for p, piece in enumerate(self.pieces):
            for row in range(self.rows):
                self.set(row, p, self._kernel.splat(0.0, piece.lanes))

    def add(self, bias: Buffer, start: Expr) -> None:
        """Add a bias, one value a channel, to every row.

        Added last, it does not swallow the low bits of the products: on PP-OCR's detector the error falls by a quarter.
        """
        for p, piece in enumerate(self.pieces):
            vector = self._kernel.load(bias, start + piece.offset, piece.lanes)
            for row in range(self.rows):
                self.set(row, p, self.get(row, p) + vector)


def build_prim_func(symbol: str, parameters: Sequence[Parameter], body: Callable[..., None]) -> Any:
    """The PrimFunc `symbol` whose statements `body(kernel, *buffers)` prints."""
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script.builder import ir

    with IRBuilder() as builder, ir.prim_func(s_tir=True):
        ir.func_name(symbol)
        ir.func_attr({"global_symbol": symbol, "tirx.noalias": True})
        buffers = tuple(
            ir.arg(p.name, ir.buffer((p.elements,), p.dtype, align=4 if p.caller else 64)) for p in parameters
        )
        body(KernelBuilder(), *buffers)
    return builder.get()
