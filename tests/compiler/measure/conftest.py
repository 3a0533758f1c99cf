"""Jobs whose programs are there already: copies of one small bench, which differ by a byte behind its end."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.compiler.transport.loopback import TvmFarm, tvm_farm

from mnv3c.compiler.link import ArtifactFiles
from mnv3c.compiler.measure.job import Job, Program, Row
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.ops import Conv2d, Input
from mnv3c.graph.tensor import TensorType
from mnv3c.profiles.work import LayerWork, NetworkWork
from mnv3c.targets.toolchain import Toolchain

ROWS = 3  # of the bench


def key(number: int) -> LayerKey:
    return LayerKey(Conv2d(8 + number, bias=True), (TensorType((1, 4, 4, 8)),))


GRAPH = Graph("net", (Node("x", Input((1, 4, 4, 8))),), ("x",))


@pytest.fixture
def layer_program(artifact: ArtifactFiles, host_toolchain: Toolchain, tmp_path: Path) -> Callable[[int], Program]:
    """The program of a layer alone; its own row is the second."""

    def make(number: int) -> Program:
        work = LayerWork(key(number))
        rows = (Row("stem", None, "scale"), Row("layer", work, "reverse"), Row("head", None, "split"))
        return _program(Job(f"layer {number}", work, GRAPH), rows, artifact, host_toolchain, tmp_path, number)

    return make


@pytest.fixture
def network_program(artifact: ArtifactFiles, host_toolchain: Toolchain, tmp_path: Path) -> Program:
    """A network of three layers, the last of which is a conversion at the border."""
    works = LayerWork(key(1000)), LayerWork(key(1001))
    rows = (Row("stem", works[0], "scale"), Row("body", works[1], "reverse"), Row("out", None, "split"))
    job = Job("net", NetworkWork("net", tuple(work.key for work in works)), GRAPH)
    return _program(job, rows, artifact, host_toolchain, tmp_path, -1)


def _program(
    job: Job, rows: tuple[Row, ...], artifact: ArtifactFiles, toolchain: Toolchain, folder: Path, number: int
) -> Program:
    path = folder / f"bench{number}"
    content = artifact.bench.read_bytes() + str(number).encode()
    path.write_bytes(content)
    path.chmod(0o755)
    architecture = toolchain.static_triple.partition("-")[0]
    return Program(job, path, f"bench-{number}", len(content), architecture, rows)


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[TvmFarm]:
    folder = tmp_path / "farm"
    folder.mkdir()
    with tvm_farm(folder) as started:
        yield started
