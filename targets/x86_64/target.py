"""The x86_64 target."""

from mnv3c.targets.cpu.target import CpuTarget


def target() -> CpuTarget:
    """The target's entry point."""
    return CpuTarget("x86_64", "x86_64")
