"""Jobs from networks and from layer keys, compiled for this machine."""

from pathlib import Path

import pytest

from mnv3c.compiler.measure.job import Job, compile_job, read_layers
from mnv3c.compiler.measure.layer_graph import LAYER, layer_graph
from mnv3c.compiler.pipeline import Compiler
from mnv3c.graph.errors import UserError
from mnv3c.graph.layer import LayerKey, layer_key, layers
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.profiles.work import GroupWork, LayerWork, NetworkWork
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device

KEYS = (
    "conv2d 1x32x32x3->1x16x16x16 kernel=3x3 stride=2x2 padding=0x0x1x1 bias=yes activation=hswish",
    "conv2d 1x7x7x32->1x7x7x96 bias=yes activation=relu",
    "conv2d 1x8x8x24->1x8x8x24 kernel=3x3 padding=1x1x1x1 groups=24 bias=yes activation=relu",
    "conv2d 1x7x7x96,1x7x7x24->1x7x7x24 bias=yes residual=before_activation",
    "conv2d 1x1x1x64->1x1x1x16 bias=yes activation=relu",
    "global_average_pool 1x7x7x96->1x1x1x96",
    "multiply 1x7x7x96,1x1x1x96->1x7x7x96",
    "add 1x7x7x24,1x7x7x24->1x7x7x24",
    "dense 1x64->1x10 bias=yes",
    "activate 1x7x7x24->1x7x7x24 activation=hswish",
)


@pytest.fixture(scope="module")
def compiler() -> Compiler:
    device = find_device("host")
    return Compiler(load_target(device.target), device)


@pytest.mark.parametrize("text", KEYS)
def test_a_layer_stands_alone(text: str, compiler: Compiler, tmp_path: Path) -> None:
    job = Job.of_layer(LayerKey.parse(text))
    program = compile_job(job, compiler, tmp_path)
    assert not program.whole
    assert program.rows[program.own_row].work == LayerWork(LayerKey.parse(text))
    assert program.bench.is_file() and program.size_bytes == program.bench.stat().st_size


def test_what_comes_before_a_layer_is_as_in_a_network() -> None:
    """An image is the caller's tensor; anything else a layer has left."""
    image, inner = (layer_graph(LayerKey.parse(text)) for text in KEYS[:2])
    assert [node.name for node in image.nodes] == ["input", LAYER]
    assert [node.name for node in inner.nodes] == ["input", "before", LAYER]


@pytest.mark.parametrize(
    "text", ["concat 1x2x2x4,1x2x2x4,1x2x2x4->1x2x2x12", "add 1x2x2x4:int8,1x2x2x4:int8->1x2x2x4:int8"]
)
def test_what_cannot_stand_alone(text: str) -> None:
    with pytest.raises(UserError, match="cannot be measured alone"):
        layer_graph(LayerKey.parse(text))


def test_every_layer_of_the_networks_stands_alone() -> None:
    graphs = [mobilenet_v3(name, minimalistic=simple) for name in ("large", "small") for simple in (False, True)]
    for graph in graphs:
        fused = run_passes(graph.rebuilt(graph.nodes, weights={}), ()) if not graph.weights else graph
        fused = run_passes(fused, default_passes())
        for key in {layer_key(fused, node) for node in layers(fused)}:
            alone = run_passes(layer_graph(key), default_passes())
            assert layer_key(alone, alone[LAYER]) == key


def test_a_network_has_the_rows_of_its_program(compiler: Compiler, tmp_path: Path) -> None:
    graph = mobilenet_v3("large", width=0.35, resolution=96, classes=10)
    job = Job.of_network(graph)
    program = compile_job(job, compiler, tmp_path)
    assert program.whole and isinstance(job.work, NetworkWork)
    works = [row.work for row in program.rows if row.work is not None]
    keys = [key for work in works for key in work.layer_keys()]
    # Each layer once, whether alone or in a group.
    assert sorted(map(str, keys)) == sorted(map(str, job.work.layers))
    assert any(isinstance(work, GroupWork) for work in works)


def test_a_file_of_layers(tmp_path: Path) -> None:
    path = tmp_path / "layers.txt"
    path.write_text(f"# two\n{KEYS[1]}\n\n  {KEYS[2]}\n{KEYS[1]}\n")
    assert read_layers(path) == tuple(map(LayerKey.parse, KEYS[1:3]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"# nothing\n", "has no layer"),
        (b"add 1x2x2x4,1x2x2x4->1x2x2x4\nconv3d x\n", r"layers.txt:2: layer key 'conv3d x': unknown op"),
        (b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_a_file_of_something_else(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "layers.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_layers(path)
    with pytest.raises(UserError, match="there is no such file"):
        read_layers(tmp_path / "absent.txt")
    with pytest.raises(UserError, match="not a regular file"):
        read_layers(Path("/dev/zero"))
