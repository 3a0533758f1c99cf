"""The x86_64 target."""

from dataclasses import dataclass

from mnv3c.targets.cpu.fusion import RowPipelineFamily
from mnv3c.targets.cpu.target import CpuTarget
from mnv3c.targets.target import Family, GroupFamily
from mnv3c.targets.x86_64.tile_families import TileGatedFamily, TileGemmFamily


@dataclass(frozen=True)
class X86Target(CpuTarget):
    """A CPU that may have a tile unit."""

    def families(self) -> tuple[Family, ...]:
        """Products on tiles beside those of vectors."""
        _, *others = super().families()
        return (TileGemmFamily(), *others)

    def groups(self) -> tuple[GroupFamily, ...]:
        """As on any CPU, gated products on tiles too."""
        return (RowPipelineFamily(), TileGatedFamily())


def target() -> CpuTarget:
    """The target's entry point."""
    return X86Target("x86_64", "x86_64")
