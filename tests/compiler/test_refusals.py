"""What cannot become a program is refused by name, before anything is built."""

from pathlib import Path

import numpy as np
import pytest

from mnv3c.compiler.build import KernelJob, build_kernels
from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.lower import lower
from mnv3c.compiler.pipeline import Compiler
from mnv3c.graph.activation import RELU
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Activate, Conv2d, GlobalAveragePool, Input, Op, Pool2d
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device


def single(op: Op, shape: tuple[int, ...]) -> Graph:
    graph = Graph("single", (Node("x", Input(shape)), Node("wide", op, ("x",))), ("wide",))
    weights = op.weights((graph.type_of("x"),))
    return graph.rebuilt(graph.nodes, weights={f"wide.{role}": np.ones(s, np.float32) for role, s in weights.items()})


@pytest.mark.parametrize(
    "op",
    [Conv2d(4, (1, 65)), Conv2d(8, (1, 65), groups=8), Pool2d("max", (1, 65), (1, 1))],
    ids=["convolution", "depthwise", "pool"],
)
def test_windows_too_wide_to_print(op: Op) -> None:
    with pytest.raises(UserError, match=r"node 'wide': target 'arm64' has no kernel for .* kernel=1x65"):
        lower(single(op, (1, 1, 80, 8)), load_target("arm64"), find_device("cortex-a76"))


def test_activations_beyond_32_bit_offsets(tmp_path: Path) -> None:
    nodes = (
        Node("x", Input((1, 8192, 8192, 6))),
        Node("a", Activate(RELU), ("x",)),
        Node("b", Activate(RELU), ("a",)),
        Node("pool", GlobalAveragePool(), ("b",)),
    )
    compiler = Compiler(load_target("arm64"), find_device("cortex-a76"), cache=FileCache(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"network 'big' needs \d+ bytes of activations and \d+ of weights"):
        compiler.compile(Graph("big", nodes, ("pool",)), tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "cache").exists()


def test_a_processor_that_llvm_does_not_know(tmp_path: Path) -> None:
    device = find_device("cortex-a76")
    target = load_target("arm64")
    (call, *_) = lower(single(Conv2d(4), (1, 3, 3, 8)), target, device).calls
    job = KernelJob.of(call.candidate, {**target.llvm_target(device), "mcpu": "cortex-a67"})
    with pytest.raises(UserError, match=r"llvm\.cpu: LLVM has no 'cortex-a67' for aarch64-linux-gnu; near: cortex-a"):
        build_kernels([job], FileCache(tmp_path))
