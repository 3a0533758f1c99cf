"""Networks with unusual ends, branches and borders: what is refused, and that the rest computes the right numbers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.compiler.kernel_runner import SHAPES, Array, caller_order, host_variant, relative_error, run_graph
from tests.graph.samples import chain, random_graph, random_input, with_weights

from mnv3c.compiler.execute import Artifact
from mnv3c.compiler.lower import LoweredNetwork, lower
from mnv3c.compiler.pipeline import Compiler
from mnv3c.graph import reference
from mnv3c.graph.activation import HSWISH, RELU, SIGMOID
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import (
    Activate,
    Add,
    BatchNorm,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Identity,
    Input,
    Multiply,
    Pool2d,
    Resize,
    Softmax,
)
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.tensor import Layout
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import Candidate, GroupWork, LayerWork

TOLERANCE = 1e-5
SAME = (1, 1, 1, 1)
LAYOUTS: tuple[Layout, ...] = ("NHWC", "NCHW")


def lowered(graph: Graph, device: str = "skylake-avx512") -> LoweredNetwork:
    found = find_device(device)
    return lower(run_passes(graph, default_passes()), load_target(found.target), found)


def network(outputs: Sequence[str], shape: tuple[int, ...], *nodes: Node) -> Graph:
    return with_weights(Graph("tiny", (Node("x", Input(shape)), *nodes), tuple(outputs)))


def conv(name: str, source: str, channels: int, kernel: int = 3) -> Node:
    padding = (kernel // 2,) * 4
    return Node(
        name, Conv2d(channels, (kernel, kernel), padding=(padding[0], padding[1], padding[2], padding[3])), (source,)
    )


GRAPHS: dict[str, Graph] = {
    "several outputs": network(["a", "b"], (1, 6, 5, 3), conv("a", "x", 16), conv("b", "a", 7)),
    "output read inside": network(["b", "a"], (1, 6, 5, 3), conv("a", "x", 16), conv("b", "a", 16)),
    "output and its alias": network(["a", "same"], (1, 4, 4, 3), conv("a", "x", 16), Node("same", Identity(), ("a",))),
    "input given back": network(["same", "a"], (1, 4, 5, 3), Node("same", Identity(), ("x",)), conv("a", "x", 4)),
    "input itself an output": network(["x", "a"], (1, 4, 5, 3), conv("a", "x", 4)),
    "flatten as output": network(
        ["flat"],
        (1, 4, 5, 3),
        conv("a", "x", 9),
        Node("pool", GlobalAveragePool(), ("a",)),
        Node("flat", Flatten(), ("pool",)),
    ),
    "flatten and its source": network(
        ["flat", "pool"],
        (1, 4, 5, 3),
        conv("a", "x", 16),
        Node("pool", GlobalAveragePool(), ("a",)),
        Node("flat", Flatten(), ("pool",)),
    ),
    "flattened input": network(
        ["y"], (1, 1, 1, 20), Node("flat", Flatten(), ("x",)), Node("y", Dense(5, True), ("flat",))
    ),
    "input as row and as map": network(
        ["y", "z"],
        (1, 1, 1, 20),
        Node("flat", Flatten(), ("x",)),
        Node("y", Dense(5, True), ("flat",)),
        Node("z", Conv2d(6, bias=True), ("x",)),
    ),
    "input read by two layers": network(
        ["y"], (1, 6, 6, 3), conv("a", "x", 8), conv("b", "x", 8, 5), Node("y", Add(), ("a", "b"))
    ),
    "input read raw and stored": network(
        ["y"], (1, 6, 6, 3), conv("a", "x", 3), Node("b", Activate(RELU), ("x",)), Node("y", Concat(), ("a", "b"))
    ),
    "input into pointwise": network(["y"], (1, 5, 3, 4), conv("y", "x", 8, 1)),
    "input into depthwise": network(["y"], (1, 5, 3, 4), Node("y", Conv2d(4, (3, 3), padding=SAME, groups=4), ("x",))),
    "input as residual of pointwise": network(
        ["y"], (1, 5, 5, 3), conv("a", "x", 8), conv("b", "a", 3, 1), Node("y", Add(), ("b", "x"))
    ),
    "input as residual of depthwise": network(
        ["y"],
        (1, 5, 5, 3),
        conv("a", "x", 3),
        Node("b", Conv2d(3, (3, 3), padding=SAME, groups=3), ("a",)),
        Node("c", Activate(HSWISH), ("b",)),
        Node("y", Add(), ("c", "x")),
    ),
    "input as residual of direct": network(["y"], (1, 5, 5, 3), conv("a", "x", 3), Node("y", Add(), ("a", "x"))),
    "input twice in one layer": network(["y"], (1, 5, 5, 3), Node("s", Multiply(), ("x", "x")), conv("y", "s", 4)),
    "tensor twice in one layer": network(["y"], (1, 5, 5, 3), conv("a", "x", 5), Node("y", Concat(), ("a", "a"))),
    "gate of the input": network(
        ["y"],
        (1, 5, 5, 3),
        Node("pool", GlobalAveragePool(), ("x",)),
        conv("gate", "pool", 3, 1),
        Node("sig", Activate(SIGMOID), ("gate",)),
        Node("y", Multiply(), ("x", "sig")),
    ),
    "bare batch norm": network(
        ["y"], (1, 4, 3, 5), Node("bn", BatchNorm(), ("x",)), Node("y", Activate(RELU), ("bn",))
    ),
    "one channel out": network(
        ["y"],
        (1, 5, 4, 3),
        conv("a", "x", 6),
        Node("t", ConvTranspose2d(1, (2, 2), (2, 2)), ("a",)),
        Node("y", Activate(SIGMOID), ("t",)),
    ),
    "row in, row out": network(["y"], (1, 37), Node("d", Dense(10, True), ("x",)), Node("y", Softmax(), ("d",))),
    "pyramid": network(
        ["y"],
        (1, 8, 12, 3),
        conv("a", "x", 7),
        Node("p", Pool2d("max", (2, 2), (2, 2)), ("a",)),
        conv("b", "p", 5),
        Node("up", Resize((8, 12), "nearest", "asymmetric"), ("b",)),
        Node("y", Concat(), ("a", "up")),
    ),
    "residual over a branch": network(
        ["c", "d"],
        (1, 5, 5, 3),
        conv("a", "x", 12),
        conv("b", "a", 12),
        Node("c", Add(), ("a", "b")),
        conv("d", "a", 1),
    ),
}


def assert_right(graph: Graph, device: CpuDevice) -> None:
    x = random_input(graph)
    got = run_graph(graph, device, x)
    # Fusion may rename an output; their order stays.
    assert_same(graph, list(got.values()), x)


def assert_same(graph: Graph, got: Sequence[Array], x: Array) -> None:
    expected = reference.run(graph, x)
    assert len(got) == len(expected)
    for values, (name, wanted) in zip(got, expected.items(), strict=True):
        assert relative_error(values, caller_order(wanted, graph.output_layout)) <= TOLERANCE, name


def relaid(graph: Graph, layout: Layout) -> Graph:
    """The same graph for a caller with another layout."""
    nodes = tuple(
        replace(node, op=replace(node.op, layout=layout)) if isinstance(node.op, Input) else node
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes, output_layout=layout)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize(
    ("bits", "registers", "layout"), [(512, 32, "NHWC"), (256, 16, "NCHW"), (128, 32, "NCHW"), (32, 32, "NHWC")]
)
def test_odd_networks_compute_the_right_numbers(bits: int, registers: int, layout: Layout, name: str) -> None:
    assert_right(relaid(GRAPHS[name], layout), host_variant(bits, registers))


@pytest.mark.parametrize("seed", range(16))
def test_random_networks_compute_the_right_numbers(seed: int) -> None:
    device = host_variant(*SHAPES[seed % len(SHAPES)])
    assert_right(relaid(random_graph(seed), LAYOUTS[seed % 3 % 2]), device)


@pytest.mark.parametrize("position", [0.3, 0.7, 1.0])
def test_other_candidates_compute_a_whole_network(position: float) -> None:
    def choose(work: LayerWork | GroupWork, candidates: Sequence[Candidate]) -> Candidate:
        return candidates[int(position * (len(candidates) - 1))]

    graph = mobilenet_v3("small", resolution=32, classes=10)
    x = random_input(graph)
    got = run_graph(graph, host_variant(128, 32), x, choose, choose)
    (expected,) = reference.run(graph, x).values()
    assert relative_error(next(iter(got.values())), expected) <= TOLERANCE


def test_only_the_borders_are_converted() -> None:
    calls = lowered(mobilenet_v3("large")).calls
    assert [call.layer for call in calls if call.kind == "border"] == ["classifier.delivered"]
    # 1000 logits are whole vectors of 8, not of 16: Haswell writes them where the caller wants them.
    assert [call for call in lowered(mobilenet_v3("large"), "haswell").calls if call.kind == "border"] == []


def test_an_input_that_several_layers_need_stored_is_converted_once() -> None:
    kinds = [call.kind for call in lowered(GRAPHS["input into depthwise"]).calls]
    assert kinds[:2] == ["border", "conv2d"]
    depthwise = Conv2d(3, (3, 3), padding=SAME, groups=3)
    twice = network(
        ["y"], (1, 5, 5, 3), Node("a", depthwise, ("x",)), Node("b", depthwise, ("x",)), Node("y", Concat(), ("a", "b"))
    )
    assert [call.layer for call in lowered(twice).calls if call.kind == "border"].count("input.stored") == 1


def test_a_kernel_reads_the_callers_tensor_only_where_it_can() -> None:
    for name, graph in GRAPHS.items():
        for call in lowered(graph).calls:
            raw = [tensor.storage for tensor in call.inputs].count("NHWC")
            assert not raw or call.candidate.family in ("border", "direct"), f"{name}: {call.layer}"
            assert raw <= 1 and (not raw or call.inputs[0].storage == "NHWC"), f"{name}: {call.layer}"


REFUSED: dict[str, tuple[Graph, str]] = {
    "grouped": (
        chain((1, 6, 6, 8), ("grouped", Conv2d(8, (3, 3), groups=2))),
        "node 'grouped': .*no kernel for .*groups=2",
    ),
    "multiplier": (
        chain((1, 6, 6, 8), ("wide", Conv2d(16, (3, 3), groups=8))),
        "node 'wide': .*no kernel for .*groups=8",
    ),
    "batch": (chain((2, 6, 6, 3), ("conv", Conv2d(8))), "node 'x': batch 2 cannot be compiled, only batch 1"),
    "two inputs": (
        with_weights(
            Graph(
                "pair",
                (Node("x", Input((1, 4, 4, 3))), Node("z", Input((1, 4, 4, 3))), Node("y", Concat(), ("x", "z"))),
                ("y",),
            )
        ),
        r"graph 'pair' has 2 inputs \(x, z\); exactly 1 can be compiled",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compiled_is_refused_by_name(case: str, tmp_path: Path) -> None:
    graph, message = REFUSED[case]
    with pytest.raises(UserError, match=message) as caught:
        lowered(graph)
    assert "\n" not in str(caught.value)
    device = find_device("skylake-avx512")
    with pytest.raises(UserError, match=message):
        Compiler(load_target(device.target), device).compile(graph, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_is_given_once() -> None:
    with pytest.raises(UserError, match="each once"):
        network(["a", "a"], (1, 4, 4, 3), conv("a", "x", 16))


def test_a_graph_without_weights_is_refused(tmp_path: Path) -> None:
    device = find_device("skylake-avx512")
    with pytest.raises(UserError, match="graph 'mobilenet_v3_small' has no weights"):
        Compiler(load_target("x86_64"), device).compile(mobilenet_v3("small", seed=None), tmp_path)


@pytest.fixture(scope="module")
def compiler() -> Compiler:
    device = find_device("host")
    return Compiler(load_target(device.target), device)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_artifact_with_odd_ends(compiler: Compiler, layout: Layout, tmp_path: Path) -> None:
    """All of it at once, through C: several outputs of odd sizes, one read inside, one the input, one a row."""
    graph = relaid(
        network(
            ["x", "c", "flat", "a", "p"],
            (1, 5, 7, 3),
            conv("a", "x", 5),
            conv("b", "a", 3, 1),
            Node("c", Add(), ("b", "x")),
            Node("pool", GlobalAveragePool(), ("c",)),
            Node("flat", Flatten(), ("pool",)),
            Node("p", Conv2d(16, (3, 3), (2, 2), (1, 1, 1, 1)), ("a",)),
        ),
        layout,
    )
    compiler.compile(graph, tmp_path)
    artifact, x = Artifact.open(tmp_path), random_input(graph)
    for threads in (1, 3):
        assert_same(graph, artifact.execute(caller_order(x, layout), "host", threads).outputs, x)
    with pytest.raises(UserError, match="the input has shape"):
        artifact.execute(np.zeros((1, 2, 3), np.float32), "host")


def test_a_network_whose_name_is_no_identifier(compiler: Compiler, tmp_path: Path) -> None:
    graph = replace(chain((1, 3, 3, 3), ("conv", Conv2d(4, bias=True))), name="8-bit über.net")
    artifact = compiler.compile(graph, tmp_path)
    assert artifact.files.library.is_file()
    x = random_input(graph)
    assert_same(graph, Artifact.open(tmp_path).execute(x, "host").outputs, x)


def test_a_network_without_any_parameter(compiler: Compiler, tmp_path: Path) -> None:
    graph = chain((1, 6, 6, 3), ("pool", Pool2d("max", (2, 2), (2, 2))), ("up", Resize((6, 6))))
    compiler.compile(graph, tmp_path)
    x = random_input(graph)
    assert_same(graph, Artifact.open(tmp_path).execute(x, "host").outputs, x)


def test_names_that_the_compiler_uses_itself(compiler: Compiler) -> None:
    """`<stored input>` and the like name buffers; a node may be called the same."""
    graph = with_weights(
        Graph(
            "names",
            (
                Node("<input>", Input((1, 4, 4, 3))),
                Node("<output 0>", Conv2d(4, bias=True), ("<input>",)),
                Node("<stored input>", Conv2d(4, bias=True), ("<output 0>",)),
                Node("<output 1>", Conv2d(5, bias=True), ("<input>",)),
                Node("sum", Add(), ("<stored input>", "<output 0>")),
            ),
            ("<output 1>", "sum"),
        )
    )
    assert_right(graph, compiler.device)
