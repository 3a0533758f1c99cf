"""Groups in strips of columns, gates in the weights of their products, and weights asked for ahead of time."""

from dataclasses import replace

import pytest
from tests.compiler.kernel_runner import SHAPES, KernelRunner, host_variant, relative_error, run_graph
from tests.graph.samples import random_input, with_weights

from mnv3c.compiler.ahead import asking_ahead
from mnv3c.compiler.lower import lower
from mnv3c.graph import reference
from mnv3c.graph.activation import HSIGMOID, HSWISH, RELU
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import Conv2d, GlobalAveragePool, Input, Multiply
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.cpu.gated import GatedGemm
from mnv3c.targets.cpu.gemm import Gemm
from mnv3c.targets.cpu.row_pipeline import RowPipeline
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import Candidate, GroupWork

TOLERANCE = 1e-5


def with_caches(device: CpuDevice, l1d_bytes: int, l2_bytes: int) -> CpuDevice:
    cache = device.cache.model_copy(update={"l1d_bytes": l1d_bytes, "l2_bytes": l2_bytes})
    return device.model_copy(update={"cache": cache})


def inverted_residual(width: int, kernel: int, stride: int, padding: tuple[int, int], ends: str) -> Graph:
    """Columns are padded by `padding` left and right; `ends` says what follows the depthwise layer."""
    source, wide = 7, 24
    pads = (kernel // 2, kernel // 2, *padding)
    window = Conv2d(wide, (kernel, kernel), (stride, stride), pads, groups=wide, bias=True, activation=RELU)
    nodes = [
        Node("x", Input((1, 9, width, source))),
        Node("before", Conv2d(source, bias=True), ("x",)),
        Node("head", Conv2d(wide, bias=True, activation=HSWISH), ("before",)),
        Node("window", window, ("head",)),
    ]
    if ends == "project":
        nodes.append(Node("project", Conv2d(11, bias=True), ("window",)))
    if ends in ("input", "head"):
        channels, skip = (source, "before") if ends == "input" else (wide, "head")
        project = Conv2d(channels, bias=True, residual="before_activation")
        nodes.append(Node("project", project, ("window", skip)))
    return with_weights(Graph("strips", tuple(nodes), (nodes[-1].name,)))


@pytest.mark.parametrize(("bits", "registers"), SHAPES)
@pytest.mark.parametrize(
    ("width", "kernel", "stride", "padding", "ends", "strips"),
    [
        (112, 3, 2, (0, 1), "project", 2),
        (112, 3, 2, (0, 1), "project", 8),
        (113, 3, 2, (1, 1), "nothing", 4),
        (97, 3, 1, (1, 1), "input", 2),
        (160, 3, 1, (1, 1), "head", 4),
        (250, 3, 1, (1, 1), "head", 8),
        (130, 5, 1, (2, 2), "input", 2),
        (131, 5, 3, (4, 0), "project", 4),
        (90, 1, 1, (0, 0), "nothing", 8),
        (120, 3, 2, (0, 0), "nothing", 4),
    ],
)
def test_strips(
    width: int, kernel: int, stride: int, padding: tuple[int, int], ends: str, bits: int, registers: int, strips: int
) -> None:
    graph = inverted_residual(width, kernel, stride, padding, ends)
    taken: list[RowPipeline] = []

    def in_strips(work: GroupWork, candidates: tuple[Candidate, ...]) -> Candidate | None:
        found = [c for c in candidates if isinstance(c, RowPipeline) and c.strips == strips]
        taken.extend(found[:1])
        return found[0] if found else None

    x = random_input(graph)
    (got,) = run_graph(graph, with_caches(host_variant(bits, registers), 1, 1), x, choose_group=in_strips).values()
    assert taken
    (expected,) = reference.run(graph, x).values()
    assert relative_error(got, expected, floor=1.0) <= TOLERANCE


def gated(height: int, channels: int, columns: int, residual: bool) -> Graph:
    nodes = [
        Node("x", Input((1, height, 9, channels))),
        Node("wide", Conv2d(channels, bias=True, activation=HSWISH), ("x",)),
        Node("skip", Conv2d(columns, bias=True), ("x",)),
        Node("pool", GlobalAveragePool(), ("wide",)),
        Node("gate", Conv2d(channels, bias=True, activation=HSIGMOID), ("pool",)),
        Node("scaled", Multiply(), ("wide", "gate")),
    ]
    project = Conv2d(columns, bias=True, residual="before_activation" if residual else None)
    nodes.append(Node("project", project, ("scaled", "skip") if residual else ("scaled",)))
    return with_weights(Graph("gated", tuple(nodes), ("project",) if residual else ("project", "skip")))


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("bits", "registers"), SHAPES)
@pytest.mark.parametrize(("height", "channels", "columns"), [(5, 31, 33), (7, 72, 24), (1, 7, 1), (8, 33, 40)])
def test_a_gate_in_the_weights(
    height: int, channels: int, columns: int, bits: int, registers: int, residual: bool
) -> None:
    graph, device = gated(height, channels, columns, residual), host_variant(bits, registers)
    network = lower(run_passes(graph, default_passes()), load_target(device.target), device)
    (call,) = (call for call in network.calls if isinstance(call.candidate, GatedGemm))
    assert [node.name for node in call.nodes] == ["scaled", "project"]
    x = random_input(graph)
    got, expected = run_graph(graph, device, x), reference.run(graph, x)
    for name in expected:
        assert relative_error(got[name], expected[name], floor=1.0) <= TOLERANCE


def test_few_rows_are_scaled_themselves() -> None:
    device = find_device("skylake-avx512")
    graph = run_passes(gated(1, 40, 33, False), default_passes())
    network = lower(graph, load_target(device.target), device)
    assert not any(isinstance(call.candidate, GatedGemm) for call in network.calls)


@pytest.mark.parametrize(("bits", "registers"), SHAPES)
@pytest.mark.parametrize(("rows", "depth", "columns"), [(49, 33, 40), (7, 72, 24), (200, 15, 31), (2, 1, 1)])
def test_products_that_ask_ahead(rows: int, depth: int, columns: int, bits: int, registers: int) -> None:
    """Whatever they ask for, nothing is read out of bounds and the numbers stay."""
    runner = KernelRunner(with_caches(host_variant(bits, registers), 1, 1 << 20))
    work = runner.work(Conv2d(columns, bias=True, activation=HSWISH), [TensorType((1, 1, rows, depth))])
    offered = runner.candidates(work)
    for candidate in (offered[0], offered[-1]):
        assert isinstance(candidate, Gemm) and candidate.prefetch
        for wanted in (0, 1 << 14, 1 << 30):
            asking = candidate.asking_ahead(wanted)
            assert asking is not None and runner.error(asking, work, floor=1.0) <= TOLERANCE
            assert asking.parameters == candidate.parameters


def test_products_ask_for_what_the_next_ones_wait_for() -> None:
    device = find_device("skylake-avx512")
    graph = run_passes(mobilenet_v3("large", seed=None), default_passes())
    network = lower(graph, load_target(device.target), device)
    asked = {
        call.layer: candidate.behind_tiles
        for call, candidate in zip(network.calls, asking_ahead(network, device), strict=True)
        if isinstance(candidate, Gemm) and candidate.behind_tiles
    }
    assert {"block11.expand", "block14.expand", "block15.expand", "last"} <= set(asked)
    assert not {"block2.expand", "block14.project", "head"} & set(asked)


def test_cores_that_issue_in_order_do_not_ask() -> None:
    work = KernelRunner(find_device("cortex-a55")).work(Conv2d(960), [TensorType((1, 7, 7, 160))])
    in_order, out_of_order = (
        KernelRunner(find_device(name)).candidates(work)[0] for name in ("cortex-a55", "cortex-a76")
    )
    assert in_order.asking_ahead(1 << 20) is None
    asking = out_of_order.asking_ahead(1 << 20)
    assert isinstance(asking, Gemm) and asking != replace(asking, behind_tiles=0)
