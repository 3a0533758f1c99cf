"""What each command does to the memories.

The array's sums are computed by BLAS on floating point where that is exact (`graph.integer.products`), and end up in
int32; the vector unit is `graph.integer`'s elementwise arithmetic, on slabs instead of whole tensors.
"""

from functools import singledispatch

import numpy as np

from mnv3c.graph.integer import elementwise, ops
from mnv3c.graph.integer.affine import Affine, Int8Array, Int32Array
from mnv3c.graph.integer.fixed_point import INT32_MAX, INT32_MIN, Int64Array, Rescale, rescale, round_half_away
from mnv3c.graph.integer.products import matrix_product
from mnv3c.graph.integer.softmax import softmax
from mnv3c.graph.integer.windows import pad, pool, taps_of
from mnv3c.graph.ops import Padding, Pair, Pool2d
from mnv3c.targets.edgetpu.commands import (
    ArrayCommand,
    Command,
    Depthwise,
    Launch,
    Load,
    Lookup,
    Matmul,
    Mean,
    Multiply,
    Pool,
    ReduceSum,
    Requantize,
    Resume,
    Softmax,
    Store,
    Sum,
)
from mnv3c.targets.edgetpu.memories import AccessError, Memories

_NO_SHIFTS = np.zeros(1, np.int64)
_NO_SCALES = np.zeros(1, np.float32)
# Elements of int32 sums that stay in a core's cache while the taps pass by.
_BLOCK_ELEMENTS = 1 << 16


@singledispatch
def execute_command(command: Command, memories: Memories) -> None:
    """Do what a command says. Raises AccessError where it reaches beyond a memory or its operands do not fit."""
    raise TypeError(f"no execution of {type(command).__name__}")


@execute_command.register
def _(command: Launch, memories: Memories) -> None:
    block = memories.dram.words(command.dram, command.length, np.uint8)
    memories.parameters.write_words(command.parameters, block)


@execute_command.register
def _(command: Resume, memories: Memories) -> None:
    """A mark alone."""


@execute_command.register
def _(command: Load, memories: Memories) -> None:
    memories.sram.write(command.sram, memories.dram.read(command.dram))


@execute_command.register
def _(command: Store, memories: Memories) -> None:
    memories.dram.write(command.dram, memories.sram.read(command.sram))


@execute_command.register
def _(command: Matmul, memories: Memories) -> None:
    padded = _padded_input(command, memories)
    depth = command.kernel[0] * command.kernel[1] * command.input.channels
    weights, start = _weights(command, depth, memories)
    views = [view[0] for _, view in taps_of(padded, command.kernel, command.stride, command.dilation)]
    windows = views[0] if len(views) == 1 else np.concatenate(views, axis=-1)
    rows = np.ascontiguousarray(windows).reshape(-1, depth)
    sums = matrix_product(rows, weights).reshape(command.accumulators.shape)
    sums += start
    memories.accumulators.write(command.accumulators, sums)


@execute_command.register
def _(command: Depthwise, memories: Memories) -> None:
    channels = command.accumulators.channels
    if command.input.channels != channels:
        raise AccessError(f"{command.input.channels} input channels for {channels} outputs")
    padded = _padded_input(command, memories)
    taps = command.kernel[0] * command.kernel[1]
    weights, start = _weights(command, taps, memories)
    views = [view[0] for _, view in taps_of(padded, command.kernel, command.stride, command.dilation)]
    sums = np.empty(command.accumulators.shape, np.int32)
    step = max(1, _BLOCK_ELEMENTS // (command.accumulators.columns * channels))
    for top in range(0, command.accumulators.rows, step):
        block = sums[top : top + step]
        block[...] = start if start.ndim == 1 else start[top : top + step]
        for weight, view in zip(weights.astype(np.int32), views, strict=True):
            block += view[top : top + step] * weight
    memories.accumulators.write(command.accumulators, sums)


@execute_command.register
def _(command: Requantize, memories: Memories) -> None:
    accumulators = memories.accumulators.read_int32(command.accumulators)
    affine = Affine(1.0, command.zero_point)
    memories.sram.write(
        command.output, elementwise.saturate(_rescaled(command, accumulators, memories), affine, command.clamp)
    )


@execute_command.register
def _(command: Lookup, memories: Memories) -> None:
    table = memories.parameters.words(command.table, 256, np.int8)
    memories.sram.write(command.output, elementwise.look_up(table, _contiguous(memories, command)))


@execute_command.register
def _(command: Sum, memories: Memories) -> None:
    step = ops.Sum(command.input_affine, command.other_affine, command.output_affine, command.clamp)
    x, other = _pair(command, memories)
    memories.sram.write(command.output, elementwise.add(step, x, other, memories.rounding))


@execute_command.register
def _(command: Multiply, memories: Memories) -> None:
    step = ops.ElementProduct(command.input_affine, command.other_affine, command.output_affine, command.clamp)
    x, other = _pair(command, memories)
    memories.sram.write(command.output, elementwise.multiply(step, x, other, memories.rounding))


@execute_command.register
def _(command: ReduceSum, memories: Memories) -> None:
    sums = memories.sram.read(command.input).sum(axis=(0, 1), keepdims=True, dtype=np.int32)
    if command.add:
        sums += memories.accumulators.read_int32(command.accumulators)
    memories.accumulators.write(command.accumulators, sums)


@execute_command.register
def _(command: Mean, memories: Memories) -> None:
    step = ops.Mean(command.input_affine, command.output_affine)
    sums = memories.accumulators.read_int32(command.accumulators)
    means = elementwise.mean_from_sums(step, sums, command.count, memories.rounding)
    memories.sram.write(command.output, means)


@execute_command.register
def _(command: Pool, memories: Memories) -> None:
    x = memories.sram.read(command.input)
    _require_window(x.shape[:2], command.output.shape[:2], command.kernel, command.stride, (1, 1), command.padding)
    op = Pool2d(command.mode, command.kernel, command.stride, command.padding)
    memories.sram.write(command.output, pool(ops.Window(op, command.affine), x[np.newaxis])[0])


@execute_command.register
def _(command: Softmax, memories: Memories) -> None:
    step = ops.IntegerSoftmax(command.input_affine, command.output_affine)
    memories.sram.write(command.output, softmax(step, _contiguous(memories, command)))


def _padded_input(command: ArrayCommand, memories: Memories) -> Int8Array:
    """What the windows read, with an axis for the batch before it, as the arithmetic of whole tensors has it."""
    x = memories.sram.read(command.input)
    wanted = command.accumulators.shape[:2]
    _require_window(x.shape[:2], wanted, command.kernel, command.stride, command.dilation, command.padding)
    return pad(x[np.newaxis], command.padding, command.zero_point)


def _require_window(
    given: tuple[int, ...], wanted: tuple[int, ...], kernel: Pair, stride: Pair, dilation: Pair, padding: Padding
) -> None:
    """A slab and its padding must be what the windows of the wanted outputs cover, and no more."""
    top, left, bottom, right = padding
    padded = given[0] + top + bottom, given[1] + left + right
    needed = tuple((wanted[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 for i in (0, 1))
    if padded != needed:
        raise AccessError(f"windows of {wanted} outputs cover {needed} rows and columns, the padded slab has {padded}")


def _weights(command: ArrayCommand, depth: int, memories: Memories) -> tuple[Int8Array, Int32Array]:
    """The weights (depth, channels), and the sums that they go on from: biases (channels,) or accumulators."""
    channels = command.accumulators.channels
    pieces = [memories.sram.words(piece.address, piece.length, np.int8) for piece in command.weights]
    values = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    count = depth * channels
    if values.size != count + (4 * channels if command.bias else 0):
        raise AccessError(f"{values.size} bytes of weights where {depth} x {channels} are used")
    weights = values[:count].reshape(depth, channels)
    if command.bias:
        return weights, values[count:].copy().view(np.int32)
    return weights, memories.accumulators.read_int32(command.accumulators)


def _rescaled(command: Requantize, accumulators: Int32Array, memories: Memories) -> Int32Array | Int64Array:
    channels, parameters = command.accumulators.channels, memories.parameters
    match command.arithmetic:
        case "fixed":
            mantissas, shifts = parameters.words(command.scales, 2 * channels, np.int32).reshape(channels, 2).T
            by = Rescale(mantissas.astype(np.int64), shifts.astype(np.int64), _NO_SCALES)
            return rescale(accumulators, by, memories.rounding)
        case "float32":
            by = Rescale(_NO_SHIFTS, _NO_SHIFTS, parameters.words(command.scales, channels, np.float32))
            return rescale(accumulators, by, "float32_rne")
        case "float64":
            reals = parameters.words(command.scales, channels, np.float64)
            return np.clip(round_half_away(accumulators * reals), INT32_MIN, INT32_MAX).astype(np.int64)


def _contiguous(memories: Memories, command: Lookup | Softmax) -> Int8Array:
    """A copy in one piece, which may be seen as other bytes."""
    return np.ascontiguousarray(memories.sram.read(command.input))


def _pair(command: Sum | Multiply, memories: Memories) -> tuple[Int8Array, Int8Array]:
    x, other = (np.ascontiguousarray(memories.sram.read(slab)) for slab in (command.input, command.other))
    if other.shape not in (x.shape, (1, 1, x.shape[-1])):
        raise AccessError(f"{other.shape} values beside {x.shape}")
    return x, other
