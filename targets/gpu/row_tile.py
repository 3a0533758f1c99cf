"""A few neighbouring pixels of a row of one slice: how they are loaded and how they are finished."""

from collections.abc import Sequence

from mnv3c.targets.gpu.builder import Buffer, Expr, GpuBuilder, Register
from mnv3c.targets.gpu.epilogue import Epilogue
from mnv3c.targets.gpu.kernel import Operands
from mnv3c.targets.gpu.tensors import Destination, Source
from mnv3c.targets.gpu.window import Axis


def load_columns(
    k: GpuBuilder, buffer: Buffer, source: Source, columns: Axis, at: tuple[Expr, Expr, Expr], pixels: int
) -> dict[int, Register]:
    """The vectors of an input row that `pixels` neighbouring windows read, by offset; zeros where that is padding."""
    part, row, first = at
    loaded = {}
    for offset in columns.columns(pixels):
        column = first * columns.stride + (offset - columns.padding)
        register = k.register(f"x{offset}")
        conditions = columns.inside(column, pixels - 1)
        if conditions:
            register.set(k.splat(0.0))
        with k.when(*conditions):
            register.set(source.load(k, buffer, part, row, column))
        loaded[offset] = register
    return loaded


def finish_row(
    k: GpuBuilder,
    ops: Operands,
    sums: Sequence[Register],
    epilogue: Epilogue,
    output: Destination,
    columns: Axis,
    at: tuple[Expr, Expr, Expr],
) -> None:
    """Bias, residual, activation and store of neighbouring pixels of one slice."""
    part, y, first = at
    bias = k.register("bias_vector")
    bias.set(k.load(ops.bias, part))
    whole = columns.count % len(sums) == 0
    for p, register in enumerate(sums):
        pixel = y * columns.count + (first + p)
        at_residual = part * output.pixels + pixel
        with k.when(*([] if whole or p == 0 else [first + p < columns.count])):
            value = epilogue.apply(k, register.get() + bias.get(), ops.residual, at_residual)
            output.store(k, ops.output, part, pixel, value)
