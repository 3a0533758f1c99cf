"""The mali target."""

from mnv3c.targets.gpu.target import GpuTarget


def target() -> GpuTarget:
    """The target's entry point."""
    return GpuTarget("mali")
