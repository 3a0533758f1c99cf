"""manifest.yaml of a compiled network: it says what is there, and anything else is refused."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.graph.samples import chain, random_input

from mnv3c.compiler.execute import Artifact
from mnv3c.compiler.manifest import Manifest, read_manifest, write_manifest
from mnv3c.compiler.pipeline import Artifact as Compiled
from mnv3c.compiler.pipeline import Compiler
from mnv3c.graph.activation import HSWISH
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.ops import Activate, Conv2d
from mnv3c.graph.yaml_io import load_graph
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device

GRAPH = chain(
    (1, 6, 5, 3), ("first", Conv2d(8, (3, 3), bias=True)), ("act", Activate(HSWISH)), ("second", Conv2d(4, bias=True))
)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    device = find_device("host")
    return Compiler(load_target(device.target), device).compile(GRAPH, tmp_path_factory.mktemp("artifact"))


@pytest.fixture
def document(compiled: Compiled) -> dict[str, Any]:
    return dict(yaml.safe_load(compiled.manifest.read_text()))


def test_it_describes_the_artifact(compiled: Compiled) -> None:
    manifest, device = read_manifest(compiled.manifest), find_device("host")
    assert (manifest.name, manifest.target, manifest.device) == ("sample", device.target, "host")
    assert manifest.device_sha256 == device.fingerprint
    assert device.llvm.cpu in manifest.llvm
    assert (manifest.input.name, manifest.input.shape, manifest.input.layout) == ("x", (1, 6, 5, 3), "NHWC")
    assert [(port.shape, port.layout) for port in manifest.outputs] == [((1, 4, 3, 4), "NHWC")]
    assert manifest.memory == {
        "peak_activation_bytes": compiled.memory.peak_bytes,
        "lower_bound_bytes": compiled.memory.lower_bound_bytes,
        "weights_bytes": compiled.program.weights_bytes,
    }
    assert set(manifest.versions) == {"mnv3c", "apache-tvm", "apache-tvm-ffi", "ziglang"}


def test_its_layers_are_the_calls(compiled: Compiled) -> None:
    manifest = read_manifest(compiled.manifest)
    assert [layer.name for layer in manifest.layers] == [call.layer for call in compiled.program.calls]
    assert [layer.kernel for layer in manifest.layers] == [call.symbol for call in compiled.program.calls]
    first, second = manifest.layers[:2]
    assert (first.kind, first.shape, first.macs) == ("conv2d+hswish", "1x6x5x3->1x4x3x8", 12 * 27 * 8)
    assert (first.bytes_in, first.bytes_out) == (4 * (90 + 27 * 8 + 8), 4 * 96)
    assert (second.kind, second.macs) == ("conv2d", 12 * 32)
    assert first.parameters == dict(compiled.network.calls[0].candidate.parameters)


def test_its_files_have_the_sizes_and_hashes_it_gives(compiled: Compiled) -> None:
    manifest = read_manifest(compiled.manifest)
    assert set(manifest.files) == {"library", "header", "bench"}
    for entry in manifest.files.values():
        content = (compiled.directory / entry.path).read_bytes()
        assert (entry.bytes, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    names = {"graph.yaml", "manifest.yaml", *(entry.path for entry in manifest.files.values())}
    assert {path.name for path in compiled.directory.iterdir()} == names


def test_the_graph_beside_it_is_what_was_compiled(compiled: Compiled) -> None:
    graph = load_graph(compiled.directory / "graph.yaml")
    assert graph.nodes == compiled.network.graph.nodes and graph.outputs == compiled.network.graph.outputs


def test_a_round_trip_changes_nothing(compiled: Compiled, tmp_path: Path) -> None:
    manifest = read_manifest(compiled.manifest)
    path = write_manifest(manifest, tmp_path / "manifest.yaml")
    assert read_manifest(path) == manifest
    assert path.read_text() == compiled.manifest.read_text()
    assert [found.name for found in tmp_path.iterdir()] == ["manifest.yaml"]


def test_compiling_again_gives_the_same_artifact(compiled: Compiled, tmp_path: Path) -> None:
    device = find_device("host")
    again = Compiler(load_target(device.target), device).compile(GRAPH, tmp_path)
    assert again.manifest.read_text() == compiled.manifest.read_text()


def test_an_artifact_can_be_moved(compiled: Compiled, tmp_path: Path) -> None:
    for path in compiled.directory.iterdir():
        copy = tmp_path / path.name
        copy.write_bytes(path.read_bytes())
        copy.chmod(path.stat().st_mode)
    x = random_input(GRAPH)
    moved, original = (Artifact.open(folder).execute(x, "host").outputs[0] for folder in (tmp_path, compiled.directory))
    assert (moved == original).all()


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another format": (lambda d: d.update(format="mnv3c-artifact/9"), "format: "),
    "missing key": (lambda d: d.pop("outputs"), "outputs: "),
    "unknown key": (lambda d: d.update(colour="red"), "colour: "),
    "unknown architecture": (lambda d: d.update(architecture="mips"), "architecture: "),
    "shape of text": (lambda d: d["input"].update(shape="1x2"), "input.shape"),
    "empty extent": (lambda d: d["input"].update(shape=[1, 0, 3]), r"input.shape.1: "),
    "unknown layout": (lambda d: d["outputs"][0].update(layout="CHWN"), r"outputs.0.layout: "),
    "missing file": (lambda d: d["files"].pop("bench"), "files: "),
    "file elsewhere": (lambda d: d["files"]["bench"].update(path="../../bin/sh"), "files.bench.path: "),
    "absolute file": (lambda d: d["files"]["bench"].update(path="/bin/sh"), "files.bench.path: "),
    "layer without kernel": (lambda d: d["layers"][0].pop("kernel"), r"layers.0.kernel: "),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_manifest_is_refused_by_its_key(case: str, document: dict[str, Any], tmp_path: Path) -> None:
    edit, message = BROKEN[case]
    edit(document)
    path = tmp_path / "manifest.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(UserError) as caught:
        Artifact.open(tmp_path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"- 1\n", b"text", b"a: [", b"\xff\xfe\x00", b"a: &x [*x]\n", b"[" * 3000])
def test_a_file_that_is_no_manifest_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "manifest.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_folder_without_one_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not an artifact \(there is no manifest\.yaml\); make one with mnv3c compile"):
        Artifact.open(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        Artifact.open(tmp_path / "nowhere")


def test_a_manifest_that_cannot_be_written(compiled: Compiled, tmp_path: Path) -> None:
    manifest: Manifest = read_manifest(compiled.manifest)
    path = tmp_path / "nowhere" / "manifest.yaml"
    with pytest.raises(MissingError, match=f"cannot write {path}: No such file or directory"):
        write_manifest(manifest, path)
