"""Candidates that do what no kernel may do. Each is a good one with something else in its place or behind it."""

import ctypes
import mmap
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnv3c.targets.cpu.builder import Buffer, KernelBuilder, Parameter, build_prim_func
from mnv3c.targets.cpu.kernel import CpuKernel
from mnv3c.targets.gpu.kernel import GpuCandidate
from mnv3c.targets.target import Array, Packed

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
# More of the kind, which benchmarks/tuner_abuse.py plants. What begins with "later" is good when it is called first.
RARER_CRIMES = {
    "inf": ("wrong", "relative error inf"),
    "lazy": ("wrong", "relative error inf"),
    "later_segfault": ("crash", "SIGSEGV"),
    "later_sleep": ("timeout", "took longer than"),
    "later_wrong": ("wrong", "relative error"),
    "later_behind": ("wrong", "wrote outside the output"),
    "terminates": ("crash", "SIGTERM"),
    "kills_itself": ("crash", "SIGKILL"),
    "divides": ("crash", "SIGFPE"),
    "illegal": ("crash", "SIGILL"),
    "stops": ("timeout", "took longer than"),
    "unalarmed": ("timeout", "took longer than"),
    "deaf": ("timeout", "took longer than"),
    "closes": ("crash", "exit status 1"),
    "huge_memory": ("crash", "SIGSEGV"),
    "much_memory": ("crash", "SIGSEGV"),
    "huge_scratch": ("wrong", "OSError: [Errno 12]"),
    "much_scratch": ("wrong", "OSError: [Errno 12]"),
    "pack_negated": ("wrong", "relative error"),
    "pack_exits": ("crash", "exit status 3"),
    "pack_quits": ("crash", "exit status 3"),
    "pack_hangs": ("timeout", "took longer than"),
    "pack_huge": ("wrong", "MemoryError"),
    "pack_strange": ("wrong", "ValueError: ??[2J?"),
    "build_exits": ("build_error", "the compiler died: exit status 0"),
    "build_quits": ("build_error", "the compiler died: exit status 3"),
    "build_segfaults": ("build_error", "the compiler died: SIGSEGV"),
    "build_huge": ("build_error", "MemoryError"),
    "build_none": ("build_error", "the compiler died: SIGSEGV"),
    "build_strange": ("build_error", "ValueError: ??[2J?"),
    "build_prints": ("build_error", "File too large"),
    "other_name": ("wrong", "undefined symbol"),
    "unpicklable": ("build_error", "TypeError: not to be sent"),
}
_STRANGE = "\x00\x1b[2J\ud800\n" * 1000
_HUGE_BYTES = 1 << 46
# C functions that a kernel calls, with their arguments.
_CALLS: Mapping[str, tuple[tuple[Any, ...], ...]] = {
    "abort": (("abort",),),
    "exit": (("_exit", 0),),
    "sleep": (("pause",),),
    "unlinkable": (("mnv3c_no_such_function",),),
    "unalarmed": (("alarm", 0), ("pause",)),
    "deaf": (("signal", int(signal.SIGALRM), int(signal.SIG_IGN)), ("pause",)),
    "terminates": (("raise", int(signal.SIGTERM)),),
    "kills_itself": (("raise", int(signal.SIGKILL)),),
    "divides": (("raise", int(signal.SIGFPE)),),
    "illegal": (("raise", int(signal.SIGILL)),),
    "stops": (("raise", int(signal.SIGSTOP)),),
}


@dataclass(frozen=True)
class Hostile:
    """Commits `crime` in place of, or after, the work of a good candidate."""

    crime: str
    number: int
    good: CpuKernel | GpuCandidate
    family: str = "hostile"

    @property
    def parameters(self) -> Mapping[str, int]:
        return {"number": self.number}

    @property
    def workspace_elements(self) -> int:
        if self.crime in ("huge_scratch", "much_scratch"):
            return (_HUGE_BYTES if self.crime == "huge_scratch" else _much_memory()) // 4
        return 16 if self._remembers else 0

    def __reduce__(self) -> Any:
        if self.crime == "unpicklable":
            raise TypeError("not to be sent")
        return Hostile, (self.crime, self.number, self.good)

    def pack(self, weights: Mapping[str, Array]) -> tuple[Packed, ...]:
        match self.crime:
            case "pack_raises":
                raise ValueError("no weights today")
            case "pack_strange":
                raise ValueError(_STRANGE)
            case "pack_exits":
                os._exit(3)
            case "pack_quits":
                raise SystemExit(3)
            case "pack_hangs":
                time.sleep(600)
            case "pack_huge":
                return (np.ones(_HUGE_BYTES // 4, np.float32),)
            case "pack_negated":
                return tuple(-array for array in self.good.pack(weights))
        return self.good.pack(weights)

    def build(self, symbol: str) -> Any:
        match self.crime:
            case "build_raises":
                raise ValueError("no kernel today")
            case "build_strange":
                raise ValueError(_STRANGE)
            case "build_aborts":
                os.abort()
            case "build_exits":
                os._exit(0)
            case "build_quits":
                raise SystemExit(3)
            case "build_segfaults":
                ctypes.string_at(0)
            case "build_hangs":
                time.sleep(600)
            case "build_huge":
                bytearray(_HUGE_BYTES)
            case "build_prints":
                while True:
                    os.write(1, bytes(1 << 20))
            case "build_none":
                return None
        name = "mnv3c_somebody_else" if self.crime == "other_name" else symbol
        return build_prim_func(name, self._buffers(), self._body)

    @property
    def _remembers(self) -> bool:
        return self.crime == "lazy" or self.crime.startswith("later")

    def _buffers(self) -> tuple[Parameter, ...]:
        *given, output = self.good.buffers()
        # Of more than it can have it is told only where it begins.
        scratch = (Parameter("scratch", 16),) if self.workspace_elements else ()
        return (*given, *scratch, output)

    def _body(self, k: KernelBuilder, *buffers: Buffer) -> None:
        if self.crime in ("nothing", "spin"):
            k.store(buffers[-1], 0, k.scalar(np.nan), 1)
        elif self._remembers:
            self._later(k, buffers)
            return
        elif self.workspace_elements:
            self.good.body(k, *buffers[:-2], buffers[-1])
        else:
            self.good.body(k, *buffers)
        if self.crime not in ("nothing", "pack_raises"):
            self._commit(k, self.crime, buffers)

    def _later(self, k: KernelBuilder, buffers: tuple[Buffer, ...]) -> None:
        *given, scratch, output = buffers
        # NaN at first, which is not greater than anything.
        again = scratch[0] > k.scalar(0.5)
        if self.crime == "lazy":
            k.choose(again, lambda: None, lambda: self.good.body(k, *given, output))
        else:
            self.good.body(k, *given, output)
            with k.when(again):
                self._commit(k, self.crime.removeprefix("later_"), (*given, output))
        k.store(scratch, 0, k.scalar(1.0), 1)

    def _commit(self, k: KernelBuilder, crime: str, buffers: tuple[Buffer, ...]) -> None:
        for function, *arguments in _CALLS.get(crime, ()):
            _call(k, function, *arguments)
        self._spoil(k, crime, buffers)
        match crime:
            case "spin":
                output = buffers[-1]
                with k.serial(2**30), k.serial(2**30):
                    k.store(output, 1, output[1] * k.scalar(1.5) + k.scalar(0.25), 1)
            case "closes":
                with k.serial(256) as number:
                    _call(k, "close", number + 3)
            case "huge_memory":
                _fill(k, _HUGE_BYTES)
            case "much_memory":
                _fill(k, _much_memory())

    def _spoil(self, k: KernelBuilder, crime: str, buffers: tuple[Buffer, ...]) -> None:
        """Write what or where it must not."""
        output, elements = buffers[-1], self.good.buffers()[-1].elements
        stores = {
            "segfault": (output, 2**30, k.scalar(1.0)),
            "nan": (output, 0, k.scalar(np.nan)),
            "inf": (output, 0, k.scalar(np.inf)),
            "behind": (output, elements + 5, k.scalar(1.0)),
            "before": (output, -3, k.scalar(1.0)),
        }
        spoilt = {"wrong": output, "input": buffers[0], "weights": buffers[1]}
        if crime in stores:
            k.store(*stores[crime], 1)
        elif crime in spoilt:
            k.store(spoilt[crime], 0, spoilt[crime][0] + k.scalar(1.0), 1)


def _call(k: KernelBuilder, function: str, *arguments: Any) -> None:
    from tvm import tirx
    from tvm.tirx.script.builder import ir

    ir.evaluate(tirx.call_extern("int32", function, *arguments))


def _fill(k: KernelBuilder, count_bytes: int) -> None:
    """Write so many bytes of new memory, whether there are so many or not."""
    from tvm import tirx
    from tvm.tirx.script.builder import ir

    size, nothing = tirx.const(count_bytes, "int64"), tirx.const(0, "int64")
    access, how = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    memory = tirx.call_extern("handle", "mmap", nothing, size, access, how, -1, nothing)
    ir.evaluate(tirx.call_extern("handle", "memset", memory, 0, size))


def _much_memory() -> int:
    """Three quarters of the machine's memory, in bytes: to be had, at the cost of everybody else."""
    return 3 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4 // 4096 * 4096
