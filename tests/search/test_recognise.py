"""Networks of MobileNetV3's form read back from their graphs, so that a search can start from any of them."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.layer import layer_key, layers
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.networks.options import NetworkOptions
from mnv3c.graph.ops import Conv2d, GlobalAveragePool, Input, Softmax
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.search.architecture import Architecture
from mnv3c.search.proposals import proposals

OPTIONS = (
    NetworkOptions(variant="small"),
    NetworkOptions(variant="large", width=0.75, resolution=(64, 96), classes=7),
    NetworkOptions(variant="small", minimalistic=True, resolution=32),
    NetworkOptions(variant="large", stem_filters=32, hswish=80, se=False),
)


@pytest.mark.parametrize("options", OPTIONS, ids=[each.name for each in OPTIONS])
def test_a_network_is_read_back_from_its_graph(options: NetworkOptions) -> None:
    start = Architecture.of(options)
    found = Architecture.of_graph(start.graph())
    assert (found.widths, found.size, found.classes, found.name) == (
        start.widths,
        start.size,
        start.classes,
        start.name,
    )
    assert found.graph().nodes == start.graph().nodes


def test_what_a_search_has_shrunk_is_read_back() -> None:
    start = Architecture.of(NetworkOptions(variant="small", resolution=64, classes=10))
    smaller = list(proposals(start.table, lambda table: float(start.with_table(table).graph().total_macs), 1.0))
    assert len(smaller) > 10
    for proposal in smaller:
        graph = start.with_table(proposal.table).graph()
        assert Architecture.of_graph(graph).graph().nodes == graph.nodes


@pytest.mark.parametrize("batch_norm", [True, False])
def test_layers_count_and_not_names_or_batch_norms(batch_norm: bool) -> None:
    graph = mobilenet_v3("large", last_stage="original", batch_norm=batch_norm, seed=None)
    renamed = {node.name: f"n{number}" for number, node in enumerate(graph.nodes)}
    nodes = tuple(Node(renamed[node.name], node.op, tuple(renamed[x] for x in node.inputs)) for node in graph.nodes)
    found = Architecture.of_graph(Graph("any", nodes, tuple(renamed[name] for name in graph.outputs)))
    assert _keys(found.graph()) == _keys(graph)
    # Expand, depthwise and projection before the 1280 layer are a block like the others.
    assert len(found.table.blocks) == 16 and found.table.blocks[-1].out == 320


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("block2.depthwise", r"layer 'block2.depthwise' is 'conv2d .*' where the form has 'conv2d .*'"),
        ("block1.se.reduce", r"layer 'block1.se.reduce' is 'conv2d .*1x1x1x12 .*' where the form has .*1x1x1x8 "),
        ("stem", r"layer 'stem' is 'conv2d .* kernel=5x5 .*' where the form has 'conv2d .* kernel=3x3 "),
    ],
)
def test_the_first_layer_of_another_form_is_named(changed: str, message: str) -> None:
    changes: dict[str, Callable[[Conv2d], Conv2d]] = {
        "block2.depthwise": lambda op: replace(op, padding=(1, 1, 1, 1)),
        "block1.se.reduce": lambda op: replace(op, out_channels=12),
        "stem": lambda op: replace(op, kernel=(5, 5), padding=(1, 1, 2, 2)),
    }
    graph = mobilenet_v3("small", seed=None)
    nodes = [
        replace(node, op=changes[changed](node.op)) if node.name == changed and isinstance(node.op, Conv2d) else node
        for node in graph.nodes
    ]
    refused = f"'{graph.name}' is not of MobileNetV3's form, which NetAdapt shrinks: {message}"
    with pytest.raises(UserError, match=refused):
        Architecture.of_graph(graph.rebuilt(tuple(nodes)))


def test_what_is_no_image_classifier_is_refused() -> None:
    features = Graph("odd", (Node("x", Input((1, 4))), Node("y", Softmax(), ("x",))), ("y",))
    with pytest.raises(UserError, match="its input is not one image of three channels"):
        Architecture.of_graph(features)
    pixels = Graph("odd", (Node("x", Input((1, 8, 8, 3))), Node("y", GlobalAveragePool(), ("x",))), ("y",))
    with pytest.raises(UserError, match="it begins with no convolution"):
        Architecture.of_graph(pixels)
    small = mobilenet_v3("small", seed=None)
    with pytest.raises(UserError, match="it has 2 outputs"):
        Architecture.of_graph(replace(small, outputs=("block3.add", *small.outputs)))


def _keys(graph: Graph) -> list[str]:
    fused = run_passes(graph, default_passes())
    return [str(layer_key(fused, node)) for node in layers(fused)]
