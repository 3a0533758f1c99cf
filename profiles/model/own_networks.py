"""Networks that our own compiler made, by the records of their kernels, which say of which network they are."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from mnv3c.profiles.physics.registry import own_runtime
from mnv3c.profiles.record import OWN_NETWORK_TAG, Record
from mnv3c.profiles.work import NetworkWork

_Key = tuple[str, str, str, int, str]


@dataclass(frozen=True)
class WholeNetwork:
    """An end-to-end record, and the indices of the records of all its kernels."""

    record: Record
    kernels: tuple[int, ...]


def is_own_network(record: Record) -> bool:
    """Whether it is an end-to-end record of our own program: a sum of kernels, not of the layers that it lists."""
    return isinstance(record.work, NetworkWork) and own_runtime(record.runtime)


def whole_networks(networks: Sequence[Record], kernels: Sequence[Record]) -> tuple[WholeNetwork, ...]:
    """The networks all of whose layers are among the kernels; others do not enter."""
    by_network: dict[_Key, list[int]] = defaultdict(list)
    for index, record in enumerate(kernels):
        if name := record.tags.get(OWN_NETWORK_TAG):
            by_network[_key(record, name)].append(index)
    found = []
    for record in filter(is_own_network, networks):
        assert isinstance(record.work, NetworkWork)
        parts = by_network.get(_key(record, record.work.name), [])
        layers = Counter(str(key) for index in parts for key in kernels[index].work.layer_keys())
        if parts and layers == Counter(map(str, record.work.layers)):
            found.append(WholeNetwork(record, tuple(parts)))
    return tuple(found)


def fit_scale(networks: Sequence[Record], kernels: Sequence[Record]) -> float | None:
    """By how much networks differ from the sum of their kernels, as a factor: the median. None where none is whole."""
    ratios = [
        whole.record.latency_ms / sum(kernels[index].latency_ms for index in whole.kernels)
        for whole in whole_networks(networks, kernels)
    ]
    return median(ratios) if ratios else None


def _key(record: Record, network: str) -> _Key:
    return record.device, record.processor, record.runtime, record.threads, network
