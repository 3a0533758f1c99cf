"""From graphs to jobs."""

import pytest

from mnv3c.graph.activation import HSWISH, RELU
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.layer import layers
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import (
    OP_TYPES,
    Activate,
    Add,
    BatchNorm,
    ChannelAffine,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Identity,
    Input,
    Multiply,
    Op,
    Pool2d,
    Resize,
    ScalarAffine,
    Softmax,
)
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.targets.edgetpu.emulate import emulate
from mnv3c.targets.edgetpu.lower_work import jobs_of, outputs_of
from mnv3c.targets.edgetpu.settings import find_accelerator
from mnv3c.targets.edgetpu.work import Job, Window

OPS: dict[str, tuple[Op, ...]] = {
    "conv2d": (Conv2d(6, (3, 3), (2, 2), (1, 1, 1, 1), groups=2, bias=True, activation=HSWISH),),
    "conv_transpose2d": (ConvTranspose2d(5, (3, 3), (2, 2), (1, 1, 1, 1), bias=True),),
    "dense": (GlobalAveragePool(), Flatten(), Dense(7, bias=True)),
    "batch_norm": (BatchNorm(),),
    "channel_affine": (ChannelAffine(scale=True),),
    "scalar_affine": (ScalarAffine(2.0),),
    "activate": (Activate(RELU),),
    "add": (Add(),),
    "multiply": (Multiply(),),
    "global_average_pool": (GlobalAveragePool(),),
    "pool2d": (Pool2d("max", (3, 3), (2, 2)),),
    "resize": (Resize((9, 4)),),
    "concat": (Concat(),),
    "softmax": (GlobalAveragePool(), Flatten(), Softmax()),
}


def jobs_after(*ops: Op) -> tuple[Job, ...]:
    """The jobs of a chain that begins with a 1x1 convolution; an op of two inputs reads the chain twice."""
    nodes = [Node("input", Input((1, 9, 8, 3))), Node("first", Conv2d(4), ("input",))]
    for place, op in enumerate(ops):
        last = nodes[-1].name
        inputs = (last, last, "first")[:3] if isinstance(op, Concat) else (last, last)
        many = isinstance(op, Add | Multiply | Concat)
        nodes.append(Node(f"n{place}", op, inputs if many else (last,)))
    graph = Graph("chain", tuple(nodes), (nodes[-1].name,))
    assert outputs_of(graph) == (nodes[-1].name,)
    return jobs_of(graph)


def test_every_op_is_listed_here() -> None:
    unworked = {Input.kind, Flatten.kind, Identity.kind}
    assert {op.kind for op in OP_TYPES} == set(OPS) | unworked


@pytest.mark.parametrize("device", ["tiny-8x8", "edgetpu-like", "ethos-u55-256"])
@pytest.mark.parametrize("kind", OPS)
def test_every_op_takes_time(kind: str, device: str) -> None:
    """No kind of layer is silently free."""
    jobs = jobs_after(*OPS[kind])
    result = emulate("chain", jobs, (jobs[-1].name,), find_accelerator(device))
    assert result.layers[-1].kind == kind
    assert all(layer.cycles > 0 for layer in result.layers)
    assert result.layers[-1].dram_bytes > 0 or device.startswith("ethos")  # whose activations lie in SRAM


def test_jobs_are_the_layers_of_the_network() -> None:
    graph = run_passes(mobilenet_v3("large"), default_passes())
    jobs = jobs_of(graph)
    assert [job.name for job in jobs] == [node.name for node in layers(graph)]
    assert sum(job.macs for job in jobs) == graph.total_macs == 216_589_760
    for job in jobs:
        if job.kind != "vector":
            assert job.m * job.k * job.n * job.groups == job.macs, job.name
    assert sum(job.kind == "depthwise" for job in jobs) == 15
    weights = sum(job.weight_bytes for job in jobs)
    biases = sum(job.output_shape[3] for job in jobs if job.weight_bytes)
    assert weights == graph.total_params + 3 * biases


def test_a_flatten_is_read_through_and_barriers_are_marked() -> None:
    pool, dense = jobs_after(GlobalAveragePool(), Flatten(), Dense(7))[1:]
    assert pool.reads_whole and not dense.reads_whole
    assert (dense.input, dense.input_shape, dense.output_shape) == ("n0", (1, 1, 1, 4), (1, 1, 1, 7))


def test_residuals_gates_and_tables_are_passes() -> None:
    residual = Conv2d(4, bias=True, activation=HSWISH, residual="before_activation")
    nodes = (
        Node("input", Input((1, 9, 8, 4))),
        Node("gate", GlobalAveragePool(), ("input",)),
        Node("conv", residual, ("input", "input")),
        Node("scale", Multiply(), ("conv", "gate")),
    )
    pool, conv, scale = jobs_of(Graph("g", nodes, ("scale",)))
    assert (pool.passes, conv.passes, scale.passes) == (1, 2, 1)
    assert (conv.second, scale.second, scale.second_shape) == ("input", "gate", (1, 1, 1, 4))


def test_a_transposed_convolution_is_one_product_of_all_phases() -> None:
    job = jobs_after(ConvTranspose2d(5, (2, 2), (2, 2), bias=True))[1]
    assert (job.m, job.k, job.n) == (9 * 8, 4, 20)
    assert job.m * job.k * job.n == job.macs
    wide = jobs_after(ConvTranspose2d(5, (4, 4), (2, 2)))[1]
    assert wide.window == Window((2, 2), padding=(1, 1, 1, 1))
    assert wide.output_shape == (1, 10, 9, 20)


def test_concatenation_keeps_all_inputs() -> None:
    job = jobs_after(Concat())[1]
    assert (job.input, job.second, job.further) == ("first", "first", (("first", (1, 9, 8, 4)),))
