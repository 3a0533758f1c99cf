"""GPU candidates that do what no kernel may do: each a good one, with something else behind it."""

import os
from dataclasses import dataclass, replace
from typing import Any

from tests.compiler.tune.hostile import Hostile

from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.opencl import KernelSource
from mnv3c.targets.gpu.target import GpuTarget

# What each does, the status it gets, and what its reason says.
CRIMES = {
    "wrong": ("wrong", "relative error"),
    "nan": ("wrong", "relative error inf"),
    "outside": ("wrong", "wrote outside the output"),
    "weights": ("wrong", "wrote into the weights"),
    "input": ("wrong", "wrote into an input"),
    "crash": ("crash", "SIGSEGV"),
    "hang": ("timeout", "took longer than"),
    "unbuilt": ("build_error", "error"),
    "build_raises": ("build_error", "ValueError: no kernel today"),
    "build_aborts": ("build_error", "the compiler died: SIGABRT"),
    "pack_raises": ("wrong", "ValueError: no weights today"),
}
_STATEMENTS = {
    "wrong": "output[0] = (float4)(123.0f);",
    "nan": "output[0] = (float4)(NAN);",
    "outside": "output[-1] = (float4)(1.0f);",
    "weights": "weight[0] = (float4)(7.0f);",
    "input": "input[0] = (float4)(7.0f);",
    "crash": "output[(size_t)1 << 38] = (float4)(1.0f);",
    "hang": "volatile int endless = 1; while (endless) {}",
    "unbuilt": "this is no OpenCL;",
}


@dataclass(frozen=True)
class HostileTarget(GpuTarget):
    """A target that knows them."""

    def kernel_source(self, candidate: Any, symbol: str, device: GpuDevice) -> KernelSource:
        if not isinstance(candidate, Hostile):
            return super().kernel_source(candidate, symbol, device)
        if candidate.crime == "build_raises":
            raise ValueError("no kernel today")
        if candidate.crime == "build_aborts":
            os.abort()
        made = super().kernel_source(candidate.good, symbol, device)
        body, _, _ = made.source.rpartition("}")
        statement = _STATEMENTS.get(candidate.crime, "")
        # The first item of all commits the crime.
        once = "get_global_id(0) + get_global_id(1) + get_global_id(2) == 0"
        return replace(made, source=f"{body}  if ({once}) {{ {statement} }}\n}}\n")
