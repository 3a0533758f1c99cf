"""What a device does not allow, said in one line before a driver says it with a number."""

import math

from mnv3c.graph.errors import UserError
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.kernel import GpuCandidate


def require_launchable(candidate: GpuCandidate, device: GpuDevice) -> None:
    """Raise UserError for a work-group that is too large for the device, or that needs too much local memory."""
    group = math.prod(candidate.local)
    size = "x".join(map(str, candidate.local))
    if group > device.opencl.work_group_items:
        raise UserError(
            f"kernel '{candidate.family}': a work-group of {size} is {group} work items;"
            f" device '{device.name}' allows {device.opencl.work_group_items} (opencl.work_group_items)"
        )
    if candidate.local_memory_bytes > device.opencl.local_memory_bytes:
        raise UserError(
            f"kernel '{candidate.family}': a work-group of {size} takes {candidate.local_memory_bytes} bytes of local"
            f" memory; device '{device.name}' has {device.opencl.local_memory_bytes} (opencl.local_memory_bytes)"
        )


def require_allocatable(what: str, size_bytes: int, device: GpuDevice) -> None:
    """Raise UserError for a buffer that is larger than the device's driver makes one."""
    if size_bytes > device.opencl.max_allocation_bytes:
        raise UserError(
            f"{what}: {size_bytes} bytes; device '{device.name}' allows {device.opencl.max_allocation_bytes} in one"
            " buffer (opencl.max_allocation_bytes)"
        )


def require_arithmetic(candidate: GpuCandidate, device: GpuDevice) -> None:
    """Raise UserError for arithmetic in halves on a device without it."""
    if candidate.precision.arithmetic == "fp16" and not device.opencl.fp16:
        raise UserError(f"device '{device.name}' has no arithmetic in halves (opencl.fp16); fp32 is allowed")
