"""Where an OpenCL is looked for."""

import ctypes
import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from mnv3c.compiler.opencl.installation import POCL_PLATFORM, opencl_environment
from mnv3c.graph.errors import MissingError


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MNV3C_OPENCL", "MNV3C_OPENCL_DEVICE", "PYOPENCL_HOME", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the system have these libraries alone."""

    def load(name: str) -> None:
        if name not in names:
            raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", load)


def wheel(monkeypatch: pytest.MonkeyPatch, home: Path, *files: str) -> None:
    """Pretend that pyopencl is installed there."""
    (home / ".libs").mkdir(parents=True)
    for name in files:
        (home / ".libs" / name).touch()
    spec = ModuleSpec("pyopencl", None, origin=str(home / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "pyopencl" else None)


def test_the_users_choice_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "libOpenCL.so")
    monkeypatch.setenv("MNV3C_OPENCL", "/opt/libOpenCL.so")
    assert opencl_environment()["MNV3C_OPENCL"] == "/opt/libOpenCL.so"


@pytest.mark.parametrize("name", ["libOpenCL.so", "libOpenCL.so.1"])
def test_the_systems_own_goes_second(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    only(monkeypatch, name)
    wheel(monkeypatch, tmp_path / "pyopencl", "libOpenCL-1.so.1")
    found = opencl_environment()
    assert "MNV3C_OPENCL" not in found and "PYOPENCL_HOME" not in found


def test_the_wheels_go_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only(monkeypatch)
    home = tmp_path / "pyopencl"
    wheel(monkeypatch, home, "libOpenCL-55.so.1.0.0", "libpocl-21.so", "pocl.icd")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    found = opencl_environment(pocl=True)
    assert found["MNV3C_OPENCL"] == str(home / ".libs" / "libOpenCL-55.so.1.0.0")
    assert found["PYOPENCL_HOME"] == str(home)
    assert found["LD_LIBRARY_PATH"] == f"{home / '.libs'}:/opt/lib"
    assert found["MNV3C_OPENCL_DEVICE"] == POCL_PLATFORM


@pytest.mark.parametrize("installed", [True, False])
def test_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: bool) -> None:
    only(monkeypatch)
    if installed:
        wheel(monkeypatch, tmp_path / "pyopencl")  # built from source, against a system's OpenCL that is gone
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"no OpenCL found: pip install 'mnv3c\[gpu\]'"):
        opencl_environment()
