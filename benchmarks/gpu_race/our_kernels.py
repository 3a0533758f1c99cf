"""Our kernels of a network's layers: the first guess, and the same kernels with other work-groups."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gpu_race.launches import OUTPUT, Launch, LayerKernels, Values
from mnv3c.compiler.lower import KernelCall, LoweredNetwork, lower
from mnv3c.compiler.opencl.deliver import delivered
from mnv3c.graph.ir import Array, Graph
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.gpu.builder import LANES
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.grid import Size
from mnv3c.targets.gpu.kernel import GpuCandidate
from mnv3c.targets.gpu.target import GpuTarget
from mnv3c.targets.gpu.tensors import slices

# Short and long rows of items, and a plane of them; at least eight items, which is what a CPU's vectors hold.
_GROUPS: tuple[Size, ...] = ((8, 1, 1), (16, 1, 1), (64, 1, 1), (16, 4, 1))


def lowered(graph: Graph, target: GpuTarget, device: GpuDevice) -> LoweredNetwork:
    """The network's calls, one kernel for each fused layer."""
    # The target's own protocol is CPU-shaped in types alone.
    kernels: Any = target
    return delivered(lower(run_passes(graph, default_passes()), kernels, device))


def work_groups(candidate: GpuCandidate, device: GpuDevice) -> tuple[Size, ...]:
    """The first guess's own work-group, then others that the device allows and that are not mostly idle."""
    own = candidate.local
    if not candidate.movable:
        return (own,)
    others = [
        group
        for group in _GROUPS
        if group != own
        and math.prod(group) <= device.opencl.work_group_items
        and all(size < 2 * items for size, items in zip(group, candidate.items, strict=True))
    ]
    return (own, *others)


def our_kernels(
    call: KernelCall,
    group: Size,
    inputs: Sequence[Array],
    weights: Mapping[str, Array],
    target: GpuTarget,
    device: GpuDevice,
) -> LayerKernels:
    """A call's one kernel with a work-group, on these inputs (in the IR's order). Imports TVM."""
    candidate: Any = call.candidate
    candidate = candidate.with_local(group)
    target.require_launchable(candidate, device)
    given = [_stored(x, tensor.storage) for x, tensor in zip(inputs, call.inputs, strict=True)]
    packed = [np.ascontiguousarray(each).ravel() for each in candidate.pack(weights)]
    arguments = tuple(f"argument{number}" for number in range(len(given) + len(packed)))
    made = target.kernel_source(candidate, "mnv3c_kernel", device)
    launch = Launch(made.name, made.source, made.global_size, made.local_size, (*arguments, OUTPUT))
    elements = target.storage_elements(call.output.type, device)
    if candidate.delivered is not None:
        elements = call.output.type.elements
    buffers = dict(zip(arguments, [*given, *packed], strict=True))
    return LayerKernels((launch,), buffers | {OUTPUT: np.full(elements, np.nan, np.float32)})


def result_of(call: KernelCall, values: Values) -> Array:
    """A call's output in the IR's order."""
    candidate: Any = call.candidate
    tensor = call.output.type
    if candidate.delivered == "NCHW" and len(tensor.shape) == 4:
        batch, height, width, channels = tensor.shape
        return values.reshape(batch, channels, height, width).transpose(0, 2, 3, 1)
    return values.reshape(tensor.shape) if candidate.delivered is not None else _unstored(values, tensor)


def _stored(x: Array, storage: str) -> Array:
    if storage != "target":
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2) if storage == "NCHW" and x.ndim == 4 else x)
    rows = x.reshape(-1, x.shape[-1])
    whole = np.pad(rows, ((0, 0), (0, -rows.shape[1] % LANES)))
    return np.ascontiguousarray(whole.reshape(len(rows), -1, LANES).transpose(1, 0, 2))


def _unstored(values: Values, tensor: TensorType) -> Array:
    whole = values.reshape(slices(tensor.channels), -1, LANES).transpose(1, 0, 2)
    return whole.reshape(whole.shape[0], -1)[:, : tensor.channels].reshape(tensor.shape)


def distinct(network: LoweredNetwork) -> Iterator[tuple[KernelCall, int]]:
    """Each different layer once, in order, with how often the network runs it."""
    seen: dict[object, list[KernelCall]] = {}
    for call in network.calls:
        storages = tuple(tensor.storage for tensor in call.inputs)
        op = call.nodes[0].op if call.nodes else None
        seen.setdefault((op, call.shape, storages, call.candidate), []).append(call)
    return ((calls[0], len(calls)) for calls in seen.values())
