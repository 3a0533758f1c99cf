"""Whole networks, compiled for a GPU and run by the C program on PoCL, against onnxruntime on the same weights."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.compiler.kernel_runner import relative_error
from tests.onnx_export import run_onnx, to_onnx
from tests.test_pp_ocr import (
    CLASSIFIER,
    DETECTOR,
    DETECTOR_TOLERANCE,
    LEAST_IMAGES,
    LEAST_IOU,
    MASK_THRESHOLD,
    expected,
    model,
)
from tests.text_images import classifier_input, detector_input, page, text_images

from mnv3c.compiler.check_input import check_input
from mnv3c.compiler.lower import lower
from mnv3c.compiler.manifest_file import artifact_format
from mnv3c.compiler.opencl.execute import InstalledGpuArtifact
from mnv3c.compiler.opencl.manifest import GPU_FORMAT
from mnv3c.compiler.opencl.pipeline import FirstGuesses, GpuArtifact, GpuCompiler
from mnv3c.compiler.opencl.target import load_opencl_target
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.importers.onnx import import_onnx
from mnv3c.graph.ir import Graph
from mnv3c.graph.layer import layers
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.printer import format_graph
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import Candidate, LayerWork

TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2}
# Of the graph's lower bound: each tensor and each weight once, at the size that it is stored in.
MOST_TRAFFIC = 1.3


def compile_for(device_name: str, storage: Any, graph: Graph, folder: Path, **options: Any) -> GpuArtifact:
    device = find_device(device_name, kind=GpuDevice)
    target = load_opencl_target(device.target).with_storage(storage)
    return GpuCompiler(target, device, "x86_64", **options).compile(graph, folder)


def require_traffic(artifact: GpuArtifact) -> None:
    """Each layer is one launch, and moves little more than it has to.

    An output that later layers read too is copied to the caller by a launch more.
    """
    network, program = artifact.network, artifact.program
    inner = [f"{name}.delivered" for name in network.graph.outputs if network.graph.consumers(name)]
    names = [node.name for node in layers(network.graph)]
    assert [call.layer for call in program.calls] == [*names, *inner]
    value_bytes = 2 if program.storage == "fp16" else 4
    callers = {network.input.name, *(tensor.name for tensor in network.outputs)}
    for lowered, call in zip(network.calls, program.calls, strict=True):
        tensors = dict.fromkeys((*lowered.inputs, lowered.output))
        least = sum(tensor.type.elements * (4 if tensor.name in callers else value_bytes) for tensor in tensors)
        least += lowered.weight_bytes * value_bytes // 4
        assert call.bytes <= MOST_TRAFFIC * least + 4096, f"{call.layer}: {call.bytes} of at least {least} bytes"


@pytest.fixture(autouse=True)
def _pocl(opencl: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNV3C_OPENCL_CACHE", opencl["MNV3C_OPENCL_CACHE"])


CASES: Mapping[str, tuple[str, str, Callable[[], Graph]]] = {
    "large": ("adreno-640", "fp32", lambda: mobilenet_v3("large")),
    "large fp16": ("mali-g710", "fp16", lambda: mobilenet_v3("large")),
    "small fp16": ("mali-g76", "fp16", lambda: mobilenet_v3("small")),
    "large minimalistic": ("adreno-730", "fp32", lambda: mobilenet_v3("large", minimalistic=True)),
    "large minimalistic fp16": ("adreno-730", "fp16", lambda: mobilenet_v3("large", minimalistic=True)),
    "small minimalistic": ("powervr-ge8320", "fp32", lambda: mobilenet_v3("small", minimalistic=True)),
    "ssdlite": ("adreno-616", "fp32", lambda: mobilenet_v3("small", head="ssdlite", resolution=96, width=0.35)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_network_agrees_with_onnxruntime(name: str, tmp_path: Path) -> None:
    device, storage, make = CASES[name]
    graph = make()
    compiled = compile_for(device, storage, graph, tmp_path / "artifact")
    require_traffic(compiled)
    tensor = graph.type_of(graph.inputs[0].name)
    x = check_input(tensor.elements, seed=7).reshape(tensor.shape)
    wanted = run_onnx(to_onnx(graph, tmp_path / "graph.onnx"), x)
    artifact = InstalledGpuArtifact.open(compiled.directory, pocl=True)
    execution = artifact.execute(x, runs=2)
    assert execution.on.startswith("Portable Computing Language: ")
    assert execution.measured_ms is not None and execution.measured_ms > 0
    for got, (output, value) in zip(execution.outputs, wanted.items(), strict=True):
        assert relative_error(got, value) <= TOLERANCES[storage], output
    assert artifact.check()["passed"] is True
    profile = artifact.profile(2)
    assert [row["bytes"] for row in profile["layers"]] == [layer.bytes for layer in artifact.manifest.layers]


@pytest.mark.parametrize(("device", "storage"), [("adreno-730", "fp32"), ("mali-g710", "fp16")])
def test_upright_and_turned_text_are_told_apart(device: str, storage: Any, tmp_path: Path) -> None:
    graph = import_onnx(model(CLASSIFIER), {"x": (1, 3, 48, 192)})
    compiled = compile_for(device, storage, graph, tmp_path)
    require_traffic(compiled)
    artifact = InstalledGpuArtifact.open(compiled.directory, pocl=True)
    seen = 0
    for text in text_images():
        values = classifier_input(text.image)
        (got,) = artifact.execute(values).outputs
        wanted = expected(CLASSIFIER, values)
        assert relative_error(got, wanted) <= TOLERANCES[storage], text.name
        assert got.argmax() == wanted.argmax(), text.name
        seen += 1
    assert seen >= LEAST_IMAGES


@pytest.mark.parametrize(("device", "storage"), [("mali-g72", "fp32"), ("adreno-640", "fp16")])
def test_text_is_found_where_onnxruntime_finds_it(device: str, storage: Any, tmp_path: Path) -> None:
    compiled = compile_for(device, storage, import_onnx(model(DETECTOR), {"x": (1, 3, 192, 416)}), tmp_path)
    require_traffic(compiled)
    artifact = InstalledGpuArtifact.open(compiled.directory, pocl=True)
    for seed in range(3):
        values = detector_input(page(192, 416, seed).image)
        (got,) = artifact.execute(values).outputs
        wanted = expected(DETECTOR, values)
        assert got.shape == wanted.shape == (1, 1, 192, 416)
        # Where a letter ends the probability is steep, so rounding shows there: test_pp_ocr.py.
        assert np.median(np.abs(got - wanted)) <= 1e-5
        assert np.linalg.norm(got - wanted) <= TOLERANCES[storage] * np.linalg.norm(wanted)
        if storage == "fp32":
            assert relative_error(got, wanted) <= DETECTOR_TOLERANCE
        mask, wanted_mask = got > MASK_THRESHOLD, wanted > MASK_THRESHOLD
        assert np.count_nonzero(mask & wanted_mask) >= LEAST_IOU * np.count_nonzero(mask | wanted_mask) > 0


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> GpuArtifact:
    graph = mobilenet_v3("small", minimalistic=True, width=0.35, resolution=32)
    return compile_for("mali-g76", "fp32", graph, tmp_path_factory.mktemp("tiny"))


def test_an_artifact_is_read_back(tiny: GpuArtifact) -> None:
    directory = tiny.directory
    names = {path.name for path in directory.iterdir()}
    program = tiny.program.name
    files = {f"lib{program}.so", f"{program}.h", f"{program}-bench", f"{program}.cl"}
    assert names == files | {"manifest.yaml", "graph.yaml"}
    assert (artifact_format(directory), artifact_format(directory.parent)) == (GPU_FORMAT, None)
    manifest = InstalledGpuArtifact.open(directory).manifest
    assert (manifest.target, manifest.device, manifest.storage) == ("mali", "mali-g76", "fp32")
    assert manifest.architecture == "x86_64" and manifest.triple == "x86_64-linux-gnu.2.28"
    assert [layer.name for layer in manifest.layers] == [call.layer for call in tiny.program.calls]
    assert manifest.memory["peak_activation_bytes"] == tiny.program.arena_bytes
    for layer in manifest.layers:
        assert all(total % group == 0 for total, group in zip(layer.work_items, layer.work_group, strict=True))


def test_compiling_again_gives_the_same_files(tiny: GpuArtifact, tmp_path: Path) -> None:
    graph = mobilenet_v3("small", minimalistic=True, width=0.35, resolution=32)
    again = compile_for("mali-g76", "fp32", graph, tmp_path)
    assert again.files.kernels.read_bytes() == tiny.files.kernels.read_bytes()
    assert again.files.bench.read_bytes() == tiny.files.bench.read_bytes()
    assert again.manifest.read_text() == tiny.manifest.read_text()


def test_another_shape_or_file_is_refused(tiny: GpuArtifact, tmp_path: Path) -> None:
    artifact = InstalledGpuArtifact.open(tiny.directory, pocl=True)
    with pytest.raises(UserError, match=r"the input has shape \[1, 3\], the network takes \[1, 32, 32, 3\] \(NHWC\)"):
        artifact.execute(np.zeros((1, 3), np.float32))
    with pytest.raises(UserError, match="cannot read /nonexistent"):
        artifact.execute(None, tuning=Path("/nonexistent"))
    with pytest.raises(UserError, match="no such folder"):
        InstalledGpuArtifact.open(tmp_path / "gone")
    (tmp_path / "manifest.yaml").write_text(tiny.manifest.read_text().replace("device: mali-g76", "device: 3"))
    with pytest.raises(UserError, match=r"manifest\.yaml: device: "):
        InstalledGpuArtifact.open(tmp_path)
    (tmp_path / "manifest.yaml").write_text(tiny.manifest.read_text())
    with pytest.raises(MissingError, match="no such file; compile again"):
        InstalledGpuArtifact.open(tmp_path).execute(None)


def test_another_processor_is_named(tiny: GpuArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(UserError, match="beside an x86_64 processor, this machine has aarch64: compile"):
        InstalledGpuArtifact.open(tiny.directory).profile()


def test_tuning_is_used_again(tiny: GpuArtifact, tmp_path: Path) -> None:
    artifact = InstalledGpuArtifact.open(tiny.directory, pocl=True)
    told = artifact.tune(tmp_path / "tuning", tries=1, runs=2)
    assert told["platform"] == "Portable Computing Language"
    assert {row["kernel"] for row in told["tuned"]} == {kernel.name for kernel in tiny.program.kernels}
    plain, tuned = artifact.execute(None), artifact.execute(None, tuning=tmp_path / "tuning")
    np.testing.assert_allclose(tuned.outputs[0], plain.outputs[0], rtol=1e-5, atol=1e-6)


def test_without_an_opencl(tiny: GpuArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNV3C_OPENCL", "/nonexistent")
    with pytest.raises(MissingError, match=r"^no OpenCL found: MNV3C_OPENCL is /nonexistent"):
        InstalledGpuArtifact.open(tiny.directory).execute(None)


def test_a_target_without_opencl() -> None:
    with pytest.raises(UserError, match="target 'arm64' runs no OpenCL"):
        load_opencl_target("arm64")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"work_group_items": 16}, "a work-group of .* device 'mali-g76' allows 16"),
        ({"max_allocation_bytes": 1 << 17}, "_small.*, weights: [0-9]+ bytes; device 'mali-g76' allows 131072"),
    ],
)
def test_what_the_devices_file_excludes(changes: dict[str, int], message: str, tmp_path: Path) -> None:
    device = find_device("mali-g76", kind=GpuDevice)
    limited = device.model_copy(update={"opencl": device.opencl.model_copy(update=changes)})
    # Kernels that were chosen for the whole device.
    family = load_opencl_target("mali")
    graph = mobilenet_v3("small", minimalistic=True, width=0.35, resolution=32)
    wide = lower(run_passes(graph, default_passes()), family, device)
    chosen = {call.layer: call.candidate for call in wide.calls}
    offers = iter(chosen.values())

    class OfTheWholeDevice(FirstGuesses):
        def choose(self, work: LayerWork, candidates: Sequence[Candidate]) -> Candidate:
            return next(offers)

    compiler = GpuCompiler(family, limited, "x86_64", choice=OfTheWholeDevice())
    with pytest.raises(UserError, match=message):
        compiler.compile(graph, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_stages_are_told(tmp_path: Path) -> None:
    from mnv3c.compiler.pipeline import Listener

    told: dict[str, str] = {}
    counts: list[tuple[int, int]] = []
    listener = Listener(
        kernels=lambda done, total: counts.append((done, total)),
        stage=lambda name, text: told.update({name: text()}),
    )
    graph = mobilenet_v3("small", minimalistic=True, width=0.35, resolution=32)
    compiled = compile_for("mali-g76", "fp32", graph, tmp_path, listener=listener)
    assert told["kernels"] == compiled.files.kernels.read_text()
    assert format_graph(compiled.network.graph) in told.values()
    assert counts == [(i + 1, len(compiled.program.kernels)) for i in range(len(compiled.program.kernels))]
    with pytest.raises(UserError, match="has no weights"):
        compile_for("mali-g76", "fp32", graph.rebuilt(graph.nodes, weights={}), tmp_path)
