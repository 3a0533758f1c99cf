"""A mobile GPU as checked data: its shader cores, the limits of OpenCL on it, its memory."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from mnv3c.targets.base_device import Bytes, BytesPerSecond, Device, Frozen, Hertz
from mnv3c.targets.violations import KeyedError

Count = Annotated[int, Field(gt=0, le=1 << 16)]


class ShaderCores(Frozen):
    """`compute_units` as OpenCL counts them, each with `alus_per_unit` that do one float32 multiply-add a cycle.

    `wave_items` work items run in lockstep. A unit has `registers_per_unit` registers of 32 bits, of which a work item
    gets at most `registers_per_item`; `fp16_rate` is how many times as many multiply-adds of halves as of floats it
    does.
    """

    compute_units: Count
    alus_per_unit: Count
    wave_items: Annotated[int, Field(ge=1, le=256)]
    registers_per_unit: Annotated[int, Field(ge=1024, le=1 << 24)]
    registers_per_item: Annotated[int, Field(ge=16, le=1024)]
    fp16_rate: Annotated[int, Field(ge=1, le=4)]


class OpenClLimits(Frozen):
    """What the driver allows: `work_group_items` in one work-group, `local_memory_bytes` for it.

    `max_allocation_bytes` is the largest buffer. Kernels use no images, so no limit of those stands here.
    """

    work_group_items: Annotated[int, Field(ge=16, le=4096)]
    local_memory_bytes: Annotated[Bytes, Field(ge=1024)]
    max_allocation_bytes: Annotated[Bytes, Field(ge=1 << 20)]
    fp16: bool


class GpuMemory(Frozen):
    """The last cache of the GPU's own, and the memory that it shares with the CPU."""

    cache_bytes: Bytes
    bandwidth_bytes_per_s: BytesPerSecond


class GpuDevice(Device):
    """A GPU: what the kernels are shaped for and what the cost model knows of it.

    `clock_hz` is the highest that phones run it at.
    """

    kind: ClassVar[str] = "a GPU"
    used_by: ClassVar[str] = "mnv3c compile --target adreno or mali"
    sections: ClassVar[tuple[str, ...]] = ("cores", "opencl", "memory")
    leaves: ClassVar[tuple[str, ...]] = ("clock_hz",)

    clock_hz: Hertz
    cores: ShaderCores
    opencl: OpenClLimits
    memory: GpuMemory

    @model_validator(mode="after")
    def _a_wave_fits(self) -> Self:
        if self.opencl.work_group_items < self.cores.wave_items:
            raise KeyedError("opencl.work_group_items", "must be at least cores.wave_items")
        return self

    @property
    def peak_flops(self) -> float:
        """Float32 operations per second at most; a multiply-add counts as two."""
        return 2.0 * self.clock_hz * self.cores.compute_units * self.cores.alus_per_unit
