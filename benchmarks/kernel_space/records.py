"""Measured kernels and networks as records, which `mnv3c calibrate` and `mnv3c validate` read."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from kernel_space.campaign import Timed, Whole
from mnv3c.compiler.c_text import identifier
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.tensor import TensorType
from mnv3c.profiles.physics.registry import OWN_RUNTIME
from mnv3c.profiles.record import AHEAD_TAG, OWN_NETWORK_TAG, Record
from mnv3c.profiles.work import GroupWork, LayerWork, NetworkWork
from mnv3c.targets.device import CpuDevice


def records_of(wholes: Sequence[Whole], device: CpuDevice) -> Iterator[Record]:
    """Records of every kernel, then of its network; all are of the device's class."""
    for whole in wholes:
        name = identifier(whole.network)
        for timed in whole.kernels:
            yield _kernel(timed, name, device)
        keys = tuple(LayerKey.parse(key) for timed in whole.kernels for key in timed.kernel.keys)
        rounds = max(timed.rounds for timed in whole.kernels)
        values = {"work": NetworkWork(name, keys), "latency_ms": whole.median_ms, "how": _how(rounds)}
        yield _record(values, whole.threads, device, {})


def work_of(keys: Sequence[LayerKey]) -> LayerWork | GroupWork:
    """What a kernel of these layers computes.

    A part reads the one before it. What else it reads comes from outside or from an earlier part: rows do not tell, but
    a residual has the shape of what it is.
    """
    parts = tuple(map(LayerWork, keys))
    if len(parts) == 1:
        return parts[0]
    outside: list[TensorType] = []
    sources: list[tuple[int, ...]] = []
    for index, key in enumerate(keys):
        beside = key.inputs if index == 0 else key.inputs[1:]
        before = (index - 1,) if index else ()
        found = tuple(_source(tensor, keys[: index - 1] if index else (), outside, index > 0) for tensor in beside)
        sources.append((*before, *found))
    return GroupWork(parts, tuple(sources))


def _source(tensor: TensorType, earlier: Sequence[LayerKey], outside: list[TensorType], known: bool) -> int:
    if known and tensor in outside:
        return -1 - outside.index(tensor)
    if part := next((part + 1 for part, key in enumerate(earlier) if key.output == tensor), 0):
        return part - 1
    outside.append(tensor)
    return -len(outside)


def _kernel(timed: Timed, network: str, device: CpuDevice) -> Record:
    kernel = timed.kernel
    values = {
        "work": work_of(tuple(map(LayerKey.parse, kernel.keys))),
        "latency_ms": timed.median_us / 1e3,
        "p10_ms": timed.p10_us / 1e3,
        "p90_ms": timed.p90_us / 1e3,
        "n": timed.n,
        "how": _how(timed.rounds),
    }
    tags = {OWN_NETWORK_TAG: network, "layer": kernel.name, AHEAD_TAG: str(kernel.ahead_bytes)}
    return _record(values, timed.threads, device, tags)


def _how(rounds: int) -> str:
    return f"median over {rounds} rounds of each round's median, networks in a new random order each round"


def _record(values: Mapping[str, Any], threads: int, device: CpuDevice, tags: dict[str, str]) -> Record:
    return Record(
        device=device.core_class,
        processor="cpu",
        runtime=f"{OWN_RUNTIME} {version(OWN_RUNTIME)}",
        precision="fp32",
        threads=threads,
        tags=tags,
        source=f"benchmarks/host_profile.py on {device.processor_name}",
        **values,
    )
