"""Candidates that do what no kernel may do. Each is a good one with something else in its place or behind it."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnv3c.targets.cpu.builder import Buffer, KernelBuilder, build_prim_func
from mnv3c.targets.cpu.kernel import CpuKernel
from mnv3c.targets.target import Array

# What each does, the status it gets, and what its reason says.
CRIMES = {
    "segfault": ("crash", "SIGSEGV"),
    "abort": ("crash", "SIGABRT"),
    "exit": ("crash", "exit status 0"),
    "sleep": ("timeout", "took longer than"),
    "spin": ("timeout", "took longer than"),
    "wrong": ("wrong", "relative error"),
    "nan": ("wrong", "relative error inf"),
    "nothing": ("wrong", "relative error inf"),
    "behind": ("wrong", "wrote outside the output"),
    "before": ("wrong", "wrote outside the output"),
    "input": ("wrong", "wrote into an input"),
    "weights": ("wrong", "wrote into the weights"),
    "pack_raises": ("wrong", "ValueError: no weights today"),
    "build_raises": ("build_error", "ValueError: no kernel today"),
    "build_aborts": ("build_error", "the compiler died: SIGABRT"),
    "build_hangs": ("build_error", "the compiler died: took longer than"),
    "unlinkable": ("build_error", "mnv3c_no_such_function"),
}


@dataclass(frozen=True)
class Hostile:
    """Commits `crime` in place of, or after, the work of a good candidate."""

    crime: str
    number: int
    good: CpuKernel
    family: str = "hostile"

    @property
    def parameters(self) -> Mapping[str, int]:
        return {"number": self.number}

    @property
    def workspace_elements(self) -> int:
        return 0

    def pack(self, weights: Mapping[str, Array]) -> tuple[Array, ...]:
        if self.crime == "pack_raises":
            raise ValueError("no weights today")
        return self.good.pack(weights)

    def build(self, symbol: str) -> Any:
        if self.crime == "build_raises":
            raise ValueError("no kernel today")
        if self.crime == "build_aborts":
            os.abort()
        if self.crime == "build_hangs":
            time.sleep(600)
        return build_prim_func(symbol, self.good.buffers(), self._body)

    def _body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        if self.crime in ("nothing", "spin"):
            k.store(buffers[-1], 0, k.scalar(np.nan), 1)
        else:
            self.good.body(k, *buffers)
        if self.crime not in ("nothing", "pack_raises"):
            self._commit(k, buffers)

    def _commit(self, k: KernelBuilder, buffers: tuple[Buffer, ...]) -> None:
        output = buffers[-1]
        elements = self.good.buffers()[-1].elements
        match self.crime:
            case "segfault":
                k.store(output, 2**30, k.scalar(1.0), 1)
            case "abort":
                _call(k, "abort")
            case "exit":
                _call(k, "_exit", 0)
            case "sleep":
                _call(k, "pause")
            case "unlinkable":
                _call(k, "mnv3c_no_such_function")
            case "spin":
                with k.serial(2**30), k.serial(2**30):
                    k.store(output, 1, output[1] * k.scalar(1.5) + k.scalar(0.25), 1)
            case "wrong":
                k.store(output, 0, output[0] + k.scalar(1.0), 1)
            case "nan":
                k.store(output, 0, k.scalar(np.nan), 1)
            case "behind":
                k.store(output, elements + 5, k.scalar(1.0), 1)
            case "before":
                k.store(output, -3, k.scalar(1.0), 1)
            case "input" | "weights":
                buffer = buffers[0 if self.crime == "input" else 1]
                k.store(buffer, 0, buffer[0] + k.scalar(1.0), 1)


def _call(k: KernelBuilder, function: str, *arguments: int) -> None:
    from tvm import tirx
    from tvm.tirx.script.builder import ir

    ir.evaluate(tirx.call_extern("int32", function, *arguments))
