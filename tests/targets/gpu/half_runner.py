"""Runs kernels with arithmetic in halves, which PoCL's CPU device lacks: clang's OpenCL, as zig brings it, compiles the
very text that ships for this CPU, with every operation rounded to half.
"""

import ctypes
import functools
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tests.targets.gpu.opencl_runner import GpuRunner, Values

from mnv3c.targets.gpu.kernel import GpuCandidate

_HERE = Path(__file__).parent
_PRELUDE, _HARNESS = _HERE / "half_prelude.cl", _HERE / "half_harness.c"
_TRIPLE = f"{platform.machine()}-linux-gnu"
# OpenCL lets a compiler contract a * b + c: NumPy does not.
_CLANG = ("-x", "cl", "-cl-std=CL1.2", "-cl-no-stdinc", "-Xclang", "-cl-ext=+cl_khr_fp16", "-ffp-contract=off", "-O1")


class HalfRunner(GpuRunner):
    """As `GpuRunner`, without OpenCL."""

    def launch(self, candidate: GpuCandidate, given: Sequence[Values], output: Values) -> Values:
        made = self.target.kernel_source(candidate, "kernel_under_test", self.device)
        whole = [self._guarded(array) for array in (*given, output)]
        before = [array.copy() for array in whole]
        guard = (len(whole[0]) - np.asarray(given[0]).size) // 2
        places = (ctypes.c_void_p * len(whole))(*(array.ctypes.data + guard * array.itemsize for array in whole))
        groups = [total // local for total, local in zip(made.global_size, made.local_size, strict=True)]
        status = _compiled(made.source, len(whole)).launch(
            places, (ctypes.c_int * 3)(*groups), (ctypes.c_int * 3)(*made.local_size)
        )
        assert status == 0
        for array, was in zip(whole[:-1], before[:-1], strict=True):
            np.testing.assert_array_equal(array, was)
        np.testing.assert_array_equal(whole[-1][:guard], before[-1][:guard])
        np.testing.assert_array_equal(whole[-1][-guard:], before[-1][-guard:])
        return whole[-1][guard:-guard]


@functools.cache
def _compiled(source: str, arguments: int) -> ctypes.CDLL:
    """The harness around a kernel, as a library."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "kernel.cl").write_text(source)
        call = ",".join(f"a[{i}]" for i in range(arguments))
        _zig(work, "clang", "-target", _TRIPLE, *_CLANG, "-include", _PRELUDE, "-fPIC", "-c", "kernel.cl", "-o", "k.o")
        words = (f"-DCALL={call}", f"-DBARRIERS={int('barrier(' in source)}", "-shared", "-fPIC", "-O1", "-std=gnu11")
        _zig(work, "cc", *words, _HARNESS, "k.o", "-o", "k.so", "-lm", "-lpthread")
        return ctypes.CDLL(str(work / "k.so"))


def _zig(work: Path, *words: object) -> None:
    command = (sys.executable, "-m", "ziglang", *map(str, words))
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
