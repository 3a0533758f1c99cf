"""Which OpenCL this machine has: the system's, or PoCL from two wheels of PyPI, which runs kernels on the CPU."""

import ctypes
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

from mnv3c.graph.errors import MissingError

POCL_PLATFORM = "Portable Computing Language"
_SYSTEMS_NAMES = ("libOpenCL.so", "libOpenCL.so.1")


def opencl_environment(*, pocl: bool = False) -> dict[str, str]:
    """The environment in which a bench finds an OpenCL; with `pocl` it takes PoCL's device and no other.

    MNV3C_OPENCL goes first, then the system's libOpenCL, then the loader inside the wheel of pyopencl, which finds the
    PoCL of pocl-binary-distribution. Raises MissingError, which says what to install, where there is none.
    """
    environment = dict(os.environ)
    if not environment.get("MNV3C_OPENCL") and not _system_has_one():
        environment |= _wheels(environment)
    if pocl:
        environment["MNV3C_OPENCL_DEVICE"] = POCL_PLATFORM
    return environment


def _system_has_one() -> bool:
    for name in _SYSTEMS_NAMES:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False


def _wheels(environment: Mapping[str, str]) -> dict[str, str]:
    found = importlib.util.find_spec("pyopencl")
    home = Path(found.origin).parent if found and found.origin else None
    libraries = sorted(home.glob(".libs/libOpenCL*.so*")) if home else []
    if home is None or not libraries:
        raise MissingError("no OpenCL found: pip install 'mnv3c[gpu]', or install your system's libOpenCL and driver")
    folder = libraries[0].parent
    # The wheel's loader looks for drivers in PYOPENCL_HOME/.libs, whose .icd files name them without their folder.
    paths = [str(folder), *filter(None, [environment.get("LD_LIBRARY_PATH")])]
    return {
        "MNV3C_OPENCL": str(libraries[0]),
        "PYOPENCL_HOME": str(home),
        "LD_LIBRARY_PATH": os.pathsep.join(paths),
    }
