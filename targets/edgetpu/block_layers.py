"""From a job to the operators that a block engine runs for it, one after the other.

| job                          | operators                                                                       |
|------------------------------|---------------------------------------------------------------------------------|
| convolution, depthwise       | one; h-swish and sigmoid pass a table on their way out                          |
| grouped convolution          | one a group                                                                     |
| on a 1x1 map; dense          | a matrix; of several rows a convolution of as many positions                    |
| transposed convolution       | a convolution over the input spread out, all taps of the kernel for each output |
| h-sigmoid                    | a sum and a product with scalars, as it is written in TFLite                    |
| residual                     | a sum                                                                           |
| global average pool          | a depthwise window as large as the map, and an int32 product for each channel   |
| sum, gate, product           | one element after the other                                                     |
| affine step                  | a product and a sum with the channel's numbers, where it has them               |
| pool                         | a window, a cycle a tap                                                         |

Vela's model says nothing of these networks for the rest, which go by the nearest rule: a concatenation copies every
input; resizing is a pool of one tap (nearest) or four (bilinear); softmax passes every element four times at the rate
of int32 products. Images of a batch run one after the other.
"""

from dataclasses import replace
from typing import assert_never

from mnv3c.graph.activation import Activation
from mnv3c.graph.ops import (
    Activate,
    Add,
    BatchNorm,
    ChannelAffine,
    Concat,
    ConvTranspose2d,
    GlobalAveragePool,
    Multiply,
    Op,
    Pool2d,
    Resize,
    ScalarAffine,
    Softmax,
    activation_of,
)
from mnv3c.targets.edgetpu.block_engine import Extent, WindowedOperator, ceil_div
from mnv3c.targets.edgetpu.block_operators import Access, Operator, Stages
from mnv3c.targets.edgetpu.work import Job

_TABLES = ("hswish", "sigmoid")


def operators_of(job: Job, stages: Stages) -> tuple[Operator, ...]:
    """The operators of a job, in order; the last one writes the job's tensor."""
    batch = job.output_shape[0]
    if job.kind == "vector":
        return tuple(replace(each, repeats=batch) for each in _vector(job, stages))
    return (*_products(job, stages), *(replace(each, repeats=batch) for each in _after(job, stages)))


def _products(job: Job, stages: Stages) -> tuple[Operator, ...]:
    activation = activation_of(job.op)
    last = job.second is None and not _is_hsigmoid(activation)
    write, table = job.name if last else None, _is_table(activation)
    batch, height, width, channels = job.input_shape
    if _is_plain(job):
        rows = batch * height
        if rows * width == 1:
            product = stages.matrix(channels, job.n, table=table, read=job.input, write=write)
            return (replace(product, macs=job.macs),)
        whole = WindowedOperator("convolution", (rows, width, channels), (rows, width, job.n), table=table)
        return (replace(stages.windowed(whole, job.input, write), macs=job.macs),)
    repeats = batch * (job.groups if job.kind == "product" else 1)
    product = stages.windowed(replace(_window(job), table=table), job.input, write)
    # Only whole jobs have counts that groups and images divide.
    return (replace(product, macs=job.macs // repeats, repeats=repeats),)


def _is_plain(job: Job) -> bool:
    """Whether the output at each position is a product with the input at that position, so that images can be one."""
    same = job.input_shape[:3] == job.output_shape[:3] and job.window.taps == job.groups == 1
    return same and job.kind == "product" and not isinstance(job.op, ConvTranspose2d)


def _window(job: Job) -> WindowedOperator:
    _, height, width, channels = job.input_shape
    _, rows, columns, outputs = job.output_shape
    window = job.window
    if job.kind == "depthwise":
        return WindowedOperator(
            *("depthwise", (height, width, channels), (rows, columns, outputs)),
            *(window.kernel, window.stride, window.dilation),
        )
    if isinstance(job.op, ConvTranspose2d):
        stride = job.op.stride
        spread = (rows * stride[0], columns * stride[1], outputs // (stride[0] * stride[1]))
        return WindowedOperator("convolution", (height, width, channels), spread, job.op.kernel, upscale=stride)
    return WindowedOperator(
        *("convolution", (height, width, channels // job.groups), (rows, columns, job.n)),
        *(window.kernel, window.stride, window.dilation),
    )


def _after(job: Job, stages: Stages) -> tuple[Operator, ...]:
    """What follows a convolution in the same layer, on one image."""
    shape, activation = _outputs(job), activation_of(job.op)
    made: list[Operator] = []
    if _is_hsigmoid(activation):
        made += _hsigmoid(shape, stages, None, None if job.second else job.name)
    if job.second is not None:
        reads = (_access(None, shape), _access(job.second, shape))
        made.append(stages.elementwise("sum", shape, stages.sum_cycles, reads, job.name))
    return tuple(made)


def _vector(job: Job, stages: Stages) -> tuple[Operator, ...]:
    op, shape = job.op, _outputs(job)
    if isinstance(op, GlobalAveragePool):
        mean = WindowedOperator("mean", _inputs(job), shape, job.input_shape[1:3])
        return (replace(stages.windowed(mean, job.input, job.name), macs=0),)
    if isinstance(op, Pool2d):
        pool = WindowedOperator("pool", _inputs(job), shape, job.window.kernel, job.window.stride)
        return (stages.windowed(pool, job.input, job.name),)
    if isinstance(op, Resize):
        return (_resized(job, op, stages),)
    if isinstance(op, Add | Multiply):
        return _pairwise(job, stages)
    if isinstance(op, Concat):
        return _copies(job, stages)
    return _unary(job, op, stages)


def _unary(job: Job, op: Op, stages: Stages) -> tuple[Operator, ...]:
    """Every element by itself: activations, affine steps, softmax; anything else at a plain output's rate."""
    shape, activation = _outputs(job), activation_of(op)
    reads = (_access(job.input, _inputs(job)),)
    if isinstance(op, Activate) and _is_hsigmoid(activation):
        return _hsigmoid(shape, stages, job.input, job.name)
    if isinstance(op, BatchNorm | ChannelAffine | ScalarAffine):
        return _affine(job, op, stages)
    if isinstance(op, Softmax):
        passes = stages.elementwise("softmax", shape, stages.int32_product_cycles, reads, job.name)
        # Maximum, table, sum and division; what lies between them is in the SRAM.
        inner = [replace(passes, reads=(_access(None, shape),), write=_access(None, shape))] * 2
        first = replace(passes, write=_access(None, shape))
        return (first, *inner, replace(passes, reads=(_access(None, shape),)))
    table = _is_table(activation)
    what = "table" if table else "copy"
    return (stages.elementwise(what, shape, stages.engine.output_cycles, reads, job.name, table=table),)


def _pairwise(job: Job, stages: Stages) -> tuple[Operator, ...]:
    shape, activation = _outputs(job), activation_of(job.op)
    what, cycles = ("sum", stages.sum_cycles) if isinstance(job.op, Add) else ("product", stages.product_cycles)
    second = job.second or job.input
    positions = shape[0] * shape[1]
    other = job.second_shape or job.input_shape
    # A gate is timed as a whole tensor.
    reads = (_access(job.input, shape), Access(second, positions, shape[2], min(positions, other[1] * other[2])))
    split = _is_hsigmoid(activation)
    made = stages.elementwise(what, shape, cycles, reads, None if split else job.name, table=_is_table(activation))
    return (made, *_hsigmoid(shape, stages, None, job.name)) if split else (made,)


def _affine(job: Job, op: BatchNorm | ChannelAffine | ScalarAffine, stages: Stages) -> tuple[Operator, ...]:
    match op:
        case BatchNorm():
            scale = shift = True
        case ChannelAffine():
            scale, shift = op.scale, op.shift
        case ScalarAffine():
            scale, shift = op.scale != 1 or op.shift == 0, op.shift != 0
        case _:
            assert_never(op)
    shape, made = _outputs(job), list[Operator]()
    for what, cycles in (("product", stages.product_cycles),) * scale + (("sum", stages.sum_cycles),) * shift:
        read = _access(None if made else job.input, shape)
        made.append(stages.elementwise(what, shape, cycles, (read,), None))
    made[0] = replace(made[0], channel_bytes=job.weight_bytes)
    made[-1] = replace(made[-1], write=_access(job.name, shape))
    return tuple(made)


def _copies(job: Job, stages: Stages) -> tuple[Operator, ...]:
    height, width, _ = _outputs(job)
    parts = [(job.input, job.input_shape), *job.further]
    if job.second is not None and job.second_shape is not None:
        parts.insert(1, (job.second, job.second_shape))
    return tuple(
        stages.elementwise(
            *("copy", (height, width, shape[3]), stages.engine.output_cycles),
            *((_access(name, (height, width, shape[3])),), job.name),
        )
        for name, shape in parts
    )


def _resized(job: Job, op: Resize, stages: Stages) -> Operator:
    """A pool over the input spread out; shrinking makes its window step over some."""
    read, shape = _inputs(job), _outputs(job)
    up = (max(1, ceil_div(shape[0], read[0])), max(1, ceil_div(shape[1], read[1])))
    down = (max(1, read[0] // shape[0]), max(1, read[1] // shape[1]))
    kernel = (2, 2) if op.mode == "bilinear" else (1, 1)
    pool = WindowedOperator("pool", read, shape, kernel, down, upscale=up)
    return stages.windowed(pool, job.input, job.name)


def _hsigmoid(shape: Extent, stages: Stages, read: str | None, write: str | None) -> tuple[Operator, ...]:
    first = stages.elementwise("sum", shape, stages.sum_cycles, (_access(read, shape),), None)
    return first, stages.elementwise("product", shape, stages.product_cycles, (_access(None, shape),), write)


def _access(tensor: str | None, shape: Extent) -> Access:
    return Access(tensor, shape[0] * shape[1], shape[2])


def _inputs(job: Job) -> Extent:
    return job.input_shape[1:]


def _outputs(job: Job) -> Extent:
    return job.output_shape[1:]


def _is_table(activation: Activation | None) -> bool:
    return activation is not None and activation.kind in _TABLES


def _is_hsigmoid(activation: Activation | None) -> bool:
    return activation is not None and activation.kind == "hsigmoid"
