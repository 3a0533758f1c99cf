"""The kernels of a lowered network as OpenCL C, each made once and kept in the cache."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from mnv3c.compiler.cache import FileCache, content_key, generator_fingerprint, toolchain_versions
from mnv3c.compiler.lower import KernelCall
from mnv3c.compiler.opencl.program import GpuKernel
from mnv3c.compiler.opencl.target import OpenClTarget
from mnv3c.targets.base_device import Device
from mnv3c.targets.target import Candidate

D = TypeVar("D", bound=Device)


def kernels_of(
    calls: Sequence[KernelCall],
    target: OpenClTarget[D],
    device: D,
    cache: FileCache,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[GpuKernel]:
    """The kernel of each call; equal candidates share one. `progress` hears (done, total) of the distinct ones."""
    made: dict[Candidate, GpuKernel] = {}
    total = len({call.candidate for call in calls})
    for call in calls:
        if call.candidate not in made:
            made[call.candidate] = cached_kernel(call.candidate, target, device, cache)
            progress(len(made), total)
    return [made[call.candidate] for call in calls]


def cached_kernel(candidate: Candidate, target: OpenClTarget[D], device: D, cache: FileCache) -> GpuKernel:
    """A candidate's kernel. Imports TVM where it is not in the cache."""
    symbol = f"{candidate.family}_{content_key(repr(candidate))[:10]}"
    generators = [generator_fingerprint(type(target)), generator_fingerprint(type(candidate))]
    key = content_key("opencl/1", repr(candidate), device.fingerprint, generators, toolchain_versions())

    def make(path: Path) -> None:
        text = target.kernel_source(candidate, symbol, device)
        kernel = GpuKernel(text.name, text.source, text.global_size, text.local_size)
        path.write_text(json.dumps(asdict(kernel)), encoding="utf-8")

    given = json.loads(cache.get(key, ".cl.json", make).read_text(encoding="utf-8"))
    return GpuKernel(given["name"], given["source"], tuple(given["global_size"]), tuple(given["local_size"]))
