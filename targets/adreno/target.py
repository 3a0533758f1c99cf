"""The adreno target."""

from mnv3c.targets.gpu.target import GpuTarget


def target() -> GpuTarget:
    """The target's entry point."""
    return GpuTarget("adreno")
