"""Our kernels of a network's layers: the first guesses, and those that a tuner's records choose."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gpu_race.launches import OUTPUT, Launch, LayerKernels, Values
from mnv3c.compiler.lower import Choose, KernelCall, LoweredNetwork, lower
from mnv3c.compiler.opencl.deliver import delivered
from mnv3c.graph.ir import Array, Graph
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.target import GpuTarget


def lowered(graph: Graph, target: GpuTarget, device: GpuDevice, choose: Choose) -> LoweredNetwork:
    """The network's calls, one kernel for each fused layer."""
    # The target's own protocol is CPU-shaped in types alone.
    kernels: Any = target
    return delivered(lower(run_passes(graph, default_passes()), kernels, device, choose))


def our_kernels(
    call: KernelCall, inputs: Sequence[Array], weights: Mapping[str, Array], target: GpuTarget, device: GpuDevice
) -> LayerKernels:
    """A call's one kernel, on these inputs (in the IR's order). Imports TVM."""
    candidate: Any = call.candidate
    target.require_launchable(candidate, device)
    given = [_given(x, tensor.storage, target) for x, tensor in zip(inputs, call.inputs, strict=True)]
    packed = [np.ascontiguousarray(each).ravel() for each in candidate.pack(weights)]
    arguments = tuple(f"argument{number}" for number in range(len(given) + len(packed)))
    made = target.kernel_source(candidate, "mnv3c_kernel", device)
    launch = Launch(made.name, made.source, made.global_size, made.local_size, (*arguments, OUTPUT))
    elements = target.storage_elements(call.output.type, device)
    if candidate.delivered is not None:
        elements = call.output.type.elements
    buffers = dict(zip(arguments, [*given, *packed], strict=True))
    return LayerKernels((launch,), buffers | {OUTPUT: np.full(elements, np.nan, np.float32)})


def result_of(call: KernelCall, values: Values, target: GpuTarget) -> Array:
    """A call's output in the IR's order."""
    candidate: Any = call.candidate
    tensor = call.output.type
    if candidate.delivered == "NCHW" and len(tensor.shape) == 4:
        batch, height, width, channels = tensor.shape
        return values.reshape(batch, channels, height, width).transpose(0, 2, 3, 1)
    return values.reshape(tensor.shape) if candidate.delivered is not None else target.unstored(values, tensor)


def _given(x: Array, storage: str, target: GpuTarget) -> Values:
    if storage == "target":
        return target.stored(x)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2) if storage == "NCHW" and x.ndim == 4 else x)


def distinct(network: LoweredNetwork, tuned: LoweredNetwork) -> Iterator[tuple[KernelCall, KernelCall, int]]:
    """Each different layer once, in order, in both networks, with how often they run it."""
    seen: dict[object, list[tuple[KernelCall, KernelCall]]] = {}
    for call, same in zip(network.calls, tuned.calls, strict=True):
        storages = tuple(tensor.storage for tensor in call.inputs)
        op = call.nodes[0].op if call.nodes else None
        seen.setdefault((op, call.shape, storages, call.candidate), []).append((call, same))
    return ((*calls[0], len(calls)) for calls in seen.values())
