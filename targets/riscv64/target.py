"""The riscv64 target: double-precision hardware floating point, the ABI of every Linux distribution."""

from mnv3c.targets.cpu.target import CpuTarget


def target() -> CpuTarget:
    """The target's entry point."""
    return CpuTarget("riscv64", "riscv64", llvm_abi="lp64d")
