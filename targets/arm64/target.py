"""The arm64 target."""

from mnv3c.targets.cpu.target import CpuTarget


def target() -> CpuTarget:
    """The target's entry point."""
    return CpuTarget("arm64", "aarch64")
