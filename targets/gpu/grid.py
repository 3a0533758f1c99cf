"""How work items are laid out: how many in a work-group, how many work-groups."""

import math
from dataclasses import dataclass

from mnv3c.targets.gpu.device import GpuDevice

Size = tuple[int, int, int]
VECTOR_BYTES = 16  # four float32


@dataclass(frozen=True)
class Grid:
    """`groups` work-groups of `local` items each, by axis."""

    groups: Size
    local: Size

    @staticmethod
    def over(items: Size, local: Size) -> "Grid":
        """The fewest whole groups that have at least so many items along each axis."""
        x, y, z = (-(-count // size) for count, size in zip(items, local, strict=True))
        return Grid((x, y, z), local)

    @property
    def global_size(self) -> Size:
        """Work items along each axis."""
        x, y, z = (count * size for count, size in zip(self.groups, self.local, strict=True))
        return (x, y, z)

    @property
    def items(self) -> int:
        """Work items of the whole grid."""
        return math.prod(self.global_size)


def power_of_two(at_least: int) -> int:
    """The smallest power of two that is not less."""
    return 1 << max(at_least - 1, 0).bit_length()


def group_items(device: GpuDevice) -> int:
    """Items of a work-group unless there is a reason for another number: two waves or 64, whichever is more.

    There is local memory for a float32 vector of each.
    """
    wanted = max(2 * power_of_two(device.cores.wave_items), 64)
    allowed = min(device.opencl.work_group_items, device.opencl.local_memory_bytes // VECTOR_BYTES)
    return min(wanted, 1 << (allowed.bit_length() - 1), 256)


def local_size(items: Size, device: GpuDevice) -> Size:
    """A work-group for so many items: along x first, so that its loads are neighbours; powers of two."""
    left = group_items(device)
    sizes = []
    for count in items:
        size = min(power_of_two(count), left)
        sizes.append(size)
        left //= size
    return (sizes[0], sizes[1], sizes[2])
