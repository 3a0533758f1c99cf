"""libNAME.so through its C API, in a process of its own: a driver brings an LLVM that must not meet TVM's."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tests.compiler.opencl.conftest import ELEMENTS, Bench, compute, make_program

from mnv3c.compiler.check_input import check_input
from mnv3c.compiler.opencl.link import GpuArtifactFiles

_USE = """
import ctypes, json, sys
import numpy as np

library = ctypes.CDLL(sys.argv[1])
library.net_last_error.restype = library.net_layer_name.restype = ctypes.c_char_p
library.net_layer_macs.restype = ctypes.c_int64
x = np.fromfile(sys.argv[2], np.float32)
y = np.zeros(12, np.float32)
y[11] = 99.0
times = np.zeros(5, np.uint64)
pointer = lambda array: ctypes.c_void_p(array.ctypes.data)
told = {"before": library.net_last_error().decode(), "null": library.net_run(None, pointer(y))}
told["null_text"] = library.net_last_error().decode()
told["first"] = library.net_run(pointer(x), pointer(y))
told["again"] = library.net_init(3)
told["profiled"] = library.net_run_profiled(pointer(x), pointer(y), pointer(times))
library.net_shutdown()
told["reopened"] = library.net_run(pointer(x), pointer(y))
told |= {"error": library.net_last_error().decode(), "y": y.tolist(), "times": times.tolist()}
told["layers"] = [library.net_layer_name(i).decode() for i in range(library.net_layer_count())]
told["macs"] = library.net_layer_macs(3)
print(json.dumps(told))
"""


def use(library: Path, bench: Bench, tmp_path: Path, **changes: str) -> Any:
    check_input(ELEMENTS, seed=2).tofile(tmp_path / "x")
    command = [sys.executable, "-c", _USE, str(library), str(tmp_path / "x")]
    environment = {**bench.environment, **changes}
    return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def test_runs_from_another_language(gpu_artifact: GpuArtifactFiles, bench: Bench, tmp_path: Path) -> None:
    told = use(gpu_artifact.library, bench, tmp_path)
    assert told["before"] == "" and told["null"] == -1 and "must not be NULL" in told["null_text"]
    assert [told[key] for key in ("first", "again", "profiled", "reopened")] == [0, 0, 0, 0], told["error"]
    np.testing.assert_allclose(told["y"][:11], compute(check_input(ELEMENTS, seed=2)), rtol=1e-5, atol=1e-6)
    assert told["y"][11] == 99.0
    assert all(0 < time < 10**9 for time in told["times"])
    assert told["layers"] == [call.layer for call in make_program().calls]
    assert told["macs"] == 320


def test_says_what_is_missing(gpu_artifact: GpuArtifactFiles, bench: Bench, tmp_path: Path) -> None:
    told = use(gpu_artifact.library, bench, tmp_path, MNV3C_OPENCL="/nonexistent")
    assert told["first"] == told["again"] == -1
    assert told["error"] == "no OpenCL found: MNV3C_OPENCL is /nonexistent, which cannot be opened"


def test_a_tuning_file_that_is_none_is_refused(gpu_artifact: GpuArtifactFiles, bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "tuning").write_text("nothing\n")
    told = use(gpu_artifact.library, bench, tmp_path, MNV3C_OPENCL_TUNING=str(tmp_path / "tuning"))
    assert told["first"] == told["reopened"] == -1
    assert told["error"].endswith("tuning: not a file that --tune wrote")
