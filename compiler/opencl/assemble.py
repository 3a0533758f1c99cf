"""From kernel calls to a GpuProgram: places in the device's memory for every argument, packed weights."""

from collections.abc import Sequence
from typing import TypeVar

from mnv3c.compiler.assemble import input_port, output_ports
from mnv3c.compiler.c_text import identifier
from mnv3c.compiler.lower import LoweredNetwork
from mnv3c.compiler.memory import MemoryPlan
from mnv3c.compiler.opencl.program import BUFFER_ALIGNMENT_BYTES, GpuCall, GpuKernel, GpuProgram
from mnv3c.compiler.opencl.target import OpenClTarget
from mnv3c.compiler.places import Places, Stored
from mnv3c.compiler.weights import WeightsBlob
from mnv3c.targets.base_device import Device

D = TypeVar("D", bound=Device)


def assemble_gpu(
    network: LoweredNetwork,
    kernels: Sequence[GpuKernel],
    output_names: Sequence[str],
    target: OpenClTarget[D],
    device: D,
) -> tuple[GpuProgram, WeightsBlob, MemoryPlan]:
    """The program, its weights, and the plan of its arena.

    `kernels` has the kernel of each call; `output_names` the outputs as the user's own graph has them. A call's traffic
    is the bytes of its arguments: each tensor read or written once.
    """
    storage = target.precision.storage
    stored = Stored("float16" if storage == "fp16" else "float32", BUFFER_ALIGNMENT_BYTES)
    weights = WeightsBlob(BUFFER_ALIGNMENT_BYTES)
    places = Places.plan(network, target, device, stored)
    calls = []
    for call, kernel in zip(network.calls, kernels, strict=True):
        arguments = places.arguments(call, weights)
        traffic_bytes = sum(argument.size_bytes for argument in dict.fromkeys(arguments))
        calls.append(GpuCall(call.layer, call.kind, call.shape, kernel.name, arguments, call.macs, traffic_bytes))
    program = GpuProgram(
        name=identifier(network.graph.name),
        input=input_port(network),
        outputs=output_ports(network, output_names),
        kernels=tuple(dict.fromkeys(kernels)),
        calls=tuple(calls),
        arena_bytes=places.memory.peak_bytes,
        weights_bytes=weights.size_bytes,
        storage=storage,
    )
    return program, weights, places.memory
