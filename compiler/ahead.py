"""Weights asked for ahead of time: while a product computes, it fetches what the next layers will wait for.

The weights lie in the order of their use. A matrix-vector product (squeeze-excite, head) uses each of its weights once
and waits for them; the matrix products before it leave the memory idle. So each of those asks for the weights behind
its own, as far as the last matrix-vector product before the next one that asks for itself.
"""

from collections.abc import Sequence

from mnv3c.compiler.lower import KernelCall, LoweredNetwork
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Candidate

# More than this share of the second-level cache pushes out what the layers in between use (measured on 2 MiB: 0.2 gains
# less, 0.5 no more).
_CACHE_SHARE = 0.35


def asking_ahead(network: LoweredNetwork, device: CpuDevice) -> tuple[Candidate, ...]:
    """The candidates of all calls, changed where they are to ask for the weights of later calls."""
    most = int(_CACHE_SHARE * device.cache.l2_bytes)
    candidates = []
    for index, call in enumerate(network.calls):
        asking = None
        if call.candidate.asking_ahead(0) and (wanted := _wanted_bytes(network.calls[index + 1 :])):
            asking = call.candidate.asking_ahead(min(wanted, most))
        candidates.append(asking or call.candidate)
    return tuple(candidates)


def _wanted_bytes(following: Sequence[KernelCall]) -> int:
    wanted = behind = 0
    for call in following:
        if call.candidate.asking_ahead(0):
            break
        behind += call.weight_bytes
        if call.candidate.streams:
            wanted = behind
    return wanted
