"""Other work-groups for kernels whose items share nothing: what a tuner tries beside the first guess's own."""

import math
from collections.abc import Iterator, Sequence

from mnv3c.graph.errors import UserError
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.grid import Size
from mnv3c.targets.gpu.kernel import GpuCandidate
from mnv3c.targets.gpu.limits import require_arithmetic, require_launchable

# Short and long rows of items, and a plane of them; at least eight items, which is what a CPU's vectors hold.
_GROUPS: tuple[Size, ...] = ((8, 1, 1), (16, 1, 1), (64, 1, 1), (16, 4, 1))


def with_work_groups(candidates: Sequence[GpuCandidate], device: GpuDevice) -> tuple[GpuCandidate, ...]:
    """The candidates that the device allows, then the same with other work-groups.

    A group of which half the items and more would idle along an axis is left out. Raises UserError, of the first
    candidate, where the device allows none.
    """
    allowed = [each for each in candidates if _allows(device, each)]
    if not allowed:
        require_launchable(candidates[0], device)
        require_arithmetic(candidates[0], device)
    others = [each.with_local(group) for each in allowed for group in _other_groups(each)]
    return (*allowed, *(each for each in others if _allows(device, each)))


def _other_groups(candidate: GpuCandidate) -> Iterator[Size]:
    if candidate.movable:
        for group in _GROUPS:
            fits = all(size < 2 * items for size, items in zip(group, candidate.items, strict=True))
            if fits and group != candidate.local and math.prod(group) <= math.prod(candidate.grid.global_size):
                yield group


def _allows(device: GpuDevice, candidate: GpuCandidate) -> bool:
    try:
        require_launchable(candidate, device)
        require_arithmetic(candidate, device)
    except UserError:
        return False
    return True
