"""Whole networks for other processors, run under emulation, against onnxruntime on the same weights."""

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.compiler.kernel_runner import relative_error
from tests.compiler.test_networks import TOLERANCE, network_input
from tests.onnx_export import run_onnx, to_onnx

from mnv3c.compiler.execute import Artifact
from mnv3c.compiler.pipeline import Artifact as Compiled
from mnv3c.compiler.pipeline import Compiler
from mnv3c.compiler.transport.emulator import Architecture, Emulator, find_emulator
from mnv3c.graph.errors import MissingError
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import OperatingSystem

AARCH64, RISCV64 = 183, 243  # e_machine, elf.h
SHARED_OBJECT, EXECUTABLE = 3, 2  # e_type
CASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "large 96": ("cortex-a76", {"variant": "large", "resolution": 96}),
    "large 224": ("cortex-a76", {"variant": "large"}),
    "small 224": ("cortex-a53", {"variant": "small"}),
    "riscv64 small 96": ("sifive-u74", {"variant": "small", "resolution": 96}),
}


def emulator(architecture: Architecture) -> Emulator:
    """The emulator; skips the test where it is missing, except on CI."""
    try:
        return find_emulator(architecture)
    except MissingError as error:
        if os.environ.get("CI") and architecture == "aarch64":
            raise
        pytest.skip(str(error))


def compiled(device_name: str, directory: Path, system: OperatingSystem, **options: Any) -> Compiled:
    device = find_device(device_name)
    return Compiler(load_target(device.target), device, system).compile(mobilenet_v3(**options), directory)


def elf_header(path: Path) -> tuple[int, int, int, int]:
    """Class (2: 64 bits), byte order (1: little endian), type and machine of an ELF file."""
    header = path.read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    kind, machine = struct.unpack_from("<HH", header, 16)
    return header[4], header[5], kind, machine


@pytest.mark.parametrize("name", CASES)
def test_an_emulated_network_agrees_with_onnxruntime(name: str, tmp_path: Path) -> None:
    device_name, options = CASES[name]
    architecture: Architecture = "riscv64" if find_device(device_name).target == "riscv64" else "aarch64"
    emulator(architecture)
    artifact = Artifact.open(compiled(device_name, tmp_path / "artifact", "linux", **options).directory)
    manifest = artifact.manifest
    assert (manifest.architecture, manifest.device) == (architecture, device_name)
    machine = RISCV64 if architecture == "riscv64" else AARCH64
    assert elf_header(artifact.bench) == (2, 1, EXECUTABLE, machine)
    assert elf_header(artifact.directory / manifest.files["library"].path) == (2, 1, SHARED_OBJECT, machine)

    graph = mobilenet_v3(**options)
    x = network_input(graph)
    execution = artifact.execute(x, "emulator", threads=2)
    assert execution.on.startswith("emulator (qemu") and execution.measured_ms is None
    (expected,) = run_onnx(to_onnx(graph, tmp_path / "graph.onnx"), x).values()
    assert relative_error(execution.outputs[0], expected) <= TOLERANCE


def test_an_android_artifact_has_its_files(tmp_path: Path) -> None:
    artifact = compiled("cortex-a76", tmp_path, "android", variant="small", resolution=96)
    assert elf_header(artifact.files.library) == (2, 1, SHARED_OBJECT, AARCH64)
    assert elf_header(artifact.files.bench) == (2, 1, EXECUTABLE, AARCH64)
    manifest = Artifact.open(tmp_path).manifest
    assert manifest.operating_system == "android" and "android" not in manifest.triple
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["graph.yaml", "manifest.yaml", *(entry.path for entry in manifest.files.values())]
    )
