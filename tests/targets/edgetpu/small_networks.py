"""Small quantised networks and awkward plans for them, made by hand and at random, without the planner."""

import random
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Literal

import numpy as np

from mnv3c.graph.activation import HSIGMOID, HSWISH, RELU, RELU6, Activation
from mnv3c.graph.calibration.samples import seeded_samples
from mnv3c.graph.initialise import initialise
from mnv3c.graph.integer.affine import Int8Array
from mnv3c.graph.integer.network import IntegerNetwork
from mnv3c.graph.integer.ops import Rounding
from mnv3c.graph.ir import Graph, GraphError, Node
from mnv3c.graph.ops import (
    Conv2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Input,
    Multiply,
    Op,
    Pool2d,
    Softmax,
)
from mnv3c.graph.passes.quantize import Quantize
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.plan import GroupPlan, LayerPlan, LoopOrder, Plan, Tiling
from mnv3c.targets.edgetpu.work import Job
from mnv3c.targets.registry import find_device

ORDERS: tuple[LoopOrder, ...] = ("rows_outer", "weights_outer")
Residence = Literal["dram", "sram", "mixed"]


def unlimited_device() -> AcceleratorDevice:
    """A device whose memories are as large as a plan asks for."""
    device = find_device("tiny-8x8", "edgetpu", kind=AcceleratorDevice)
    return device.with_settings({"sram_bytes": None, "accumulator_bytes": None})


def quantised(graph: Graph, rounding: Rounding = "gemmlowp_double", seed: int = 0) -> IntegerNetwork:
    weighted = initialise(graph, seed)
    return Quantize(rounding=rounding).run(weighted, seeded_samples(weighted, 2, seed))


def random_input(network: IntegerNetwork, seed: int) -> Int8Array:
    shape = network.graph.type_of(network.graph.inputs[0].name).shape
    return np.random.default_rng(seed).integers(-128, 128, shape, dtype=np.int8)


class _Chain:
    """Nodes one after another."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.nodes = [Node("image", Input(shape))]
        self.last = "image"

    def add(self, op: Op, *others: str) -> str:
        name = f"{op.kind}{len(self.nodes)}"
        self.nodes.append(Node(name, op, (self.last, *others)))
        self.last = name
        return name

    def graph(self, name: str) -> Graph:
        return Graph(name, tuple(self.nodes), (self.last,))


def inverted_residual(height: int = 6, width: int = 7, batch: int = 1) -> Graph:
    """A block with everything that MobileNetV3 has: stem, expansion, depthwise, squeeze-excite, residual, head."""
    chain = _Chain((batch, height, width, 3))
    trunk = chain.add(Conv2d(5, (3, 3), (1, 1), (1, 1, 1, 1), bias=True, activation=HSWISH))
    chain.add(Conv2d(11, bias=True, activation=RELU))
    gated = chain.add(Conv2d(11, (3, 3), (1, 1), (1, 1, 1, 1), groups=11, bias=True, activation=HSWISH))
    chain.add(GlobalAveragePool())
    chain.add(Conv2d(4, bias=True, activation=RELU))
    gate = chain.add(Conv2d(11, bias=True, activation=HSIGMOID))
    chain.last = gated
    chain.add(Multiply(), gate)
    chain.add(Conv2d(5, bias=True, residual="after_activation"), trunk)
    chain.add(Conv2d(9, (5, 5), (2, 2), (2, 2, 2, 2), bias=True, activation=RELU6))
    chain.add(GlobalAveragePool())
    chain.add(Flatten())
    chain.add(Dense(10, bias=True))
    chain.add(Softmax())
    return chain.graph("block")


def random_graph(rng: random.Random, batches: tuple[int, ...] = (1, 1, 2)) -> Graph:
    """A few layers of every kind that the accelerator has commands for."""
    channels = rng.randint(1, 9)
    chain = _Chain((rng.choice(batches), rng.randint(5, 12), rng.randint(5, 12), channels))
    shape = chain.graph("probe").type_of("image").shape
    for _ in range(rng.randint(1, 6)):
        op, others = _random_op(rng, chain.last, shape)
        if others and others[0] is None:
            squeezed = _squeeze(chain, rng, shape[3])
            others = (squeezed,)
        before = chain.last
        chain.add(op, *(other for other in others if other is not None))
        try:
            shape = chain.graph("probe").type_of(chain.last).shape
        except GraphError:  # a window that is larger than the map
            chain.nodes.pop()
            chain.last = before
    if rng.random() < 0.5:
        chain.add(GlobalAveragePool())
        chain.add(Flatten())
        chain.add(Dense(rng.randint(1, 12), bias=True, activation=rng.choice((None, RELU, HSWISH))))
        if rng.random() < 0.5:
            chain.add(Softmax())
    return chain.graph("random")


def _squeeze(chain: _Chain, rng: random.Random, channels: int) -> str:
    trunk = chain.last
    chain.add(GlobalAveragePool())
    chain.add(Conv2d(rng.randint(1, 6), bias=True, activation=RELU))
    gate = chain.add(Conv2d(channels, bias=True, activation=HSIGMOID))
    chain.last = trunk
    return gate


def _random_op(rng: random.Random, last: str, shape: tuple[int, ...]) -> tuple[Op, tuple[str | None, ...]]:
    channels = shape[3]
    activation: Activation | None = rng.choice((None, RELU, RELU6, HSWISH))
    kernel, stride, dilation = _extent(rng, 5), _extent(rng, 2), _extent(rng, 2)
    if min(shape[1:3]) < 9:
        dilation = (1, 1)
    padding = (kernel[0] // 2 * dilation[0], rng.randint(0, 2), kernel[0] // 2 * dilation[0], 2 * dilation[1])
    match rng.randrange(6):
        case 0:
            return Conv2d(rng.randint(1, 12), kernel, stride, padding, dilation, bias=True, activation=activation), ()
        case 1:
            return Conv2d(rng.randint(1, 12), bias=True, activation=activation), ()
        case 2:
            return Conv2d(channels, residual="after_activation", activation=activation, bias=True), (last,)
        case 3:
            groups = rng.choice([n for n in range(1, channels + 1) if channels % n == 0])
            out = channels if groups == channels and rng.random() < 0.7 else groups * rng.randint(1, 3)
            return Conv2d(out, kernel, stride, padding, dilation, groups, True, activation), ()
        case 4:
            window = (rng.randint(2, 3), rng.randint(2, 3))
            mode = rng.choice(("max", "average"))
            return Pool2d(mode, window, (rng.randint(1, 2), rng.randint(1, 2)), (1, 1, 1, 0)), ()
        case _:
            return Multiply(), (None,)


def _extent(rng: random.Random, largest: int) -> tuple[int, int]:
    return rng.randint(1, largest), rng.randint(1, largest)


def plan_of(
    jobs: Sequence[Job],
    outputs: Sequence[str],
    rng: random.Random,
    residence: Residence,
    tilings: Sequence[Tiling] = (),
) -> Plan:
    """A plan with these tilings (or random ones), where no two things ever share a byte of the SRAM."""
    names = {job.name for job in jobs} - set(outputs)
    kept = {name for name in sorted(names) if residence == "sram" or (residence == "mixed" and rng.random() < 0.5)}
    offsets: dict[str, int] = {}
    end = rng.randrange(64)
    steps: list[LayerPlan] = []
    for index, job in enumerate(jobs):
        if job.name in kept:
            offsets[job.name], end = end, end + prod(job.output_shape) + rng.randrange(8)
        pinned = 0
        if job.weight_bytes and (residence == "sram" or (residence == "mixed" and rng.random() < 0.5)):
            pinned = job.weight_bytes if residence == "sram" else rng.randint(1, job.weight_bytes)
            offsets[f"{job.name}.weight"], end = end, end + pinned
        steps.append(
            LayerPlan(
                job,
                tilings[index] if tilings else random_tiling(job, rng),
                job.input in kept,
                job.second in kept,
                job.name in kept,
                pinned,
            )
        )
    return Plan(tuple(steps), offsets, tile_offset=end, tile_bytes=2 * 4096, peak_sram_bytes=end + 2 * 4096)


def random_tiling(job: Job, rng: random.Random) -> Tiling:
    _, height, width, _ = job.input_shape if job.reads_whole else job.output_shape
    rows = rng.randint(1, height)
    columns = rng.randint(1, width) if rows == 1 else width
    whole = isinstance(job.op, Softmax)
    channels = job.n if whole else rng.randint(1, job.n)
    depth = rng.randint(1, job.input_shape[3] // job.groups) if job.kind == "product" else channels
    return Tiling(rows, columns, channels, depth, rng.choice(ORDERS))


def fused(plan: Plan, outputs: Sequence[str], rng: random.Random) -> Plan:
    """The plan with neighbours fused by strips wherever nothing else reads what lies between them."""
    layers = plan.layers
    steps: list[LayerPlan | GroupPlan] = []
    start = 0
    while start < len(layers):
        stop = start + 1
        while stop < len(layers) and _fusible(layers, outputs, start, stop + 1) and rng.random() < 0.8:
            stop += 1
        names = {layer.job.name for layer in layers[start : stop - 1]}
        group = tuple(
            replace(
                layer,
                input_in_sram=layer.input_in_sram or layer.job.input in names,
                second_in_sram=layer.second_in_sram or layer.job.second in names,
                output_in_sram=layer.output_in_sram or layer.job.name in names,
            )
            for layer in layers[start:stop]
        )
        rows = rng.randint(1, group[-1].job.output_shape[1])
        steps.append(GroupPlan(group, rows) if len(group) > 1 else group[0])
        start = stop
    return replace(plan, steps=tuple(steps))


def _fusible(layers: Sequence[LayerPlan], outputs: Sequence[str], start: int, stop: int) -> bool:
    inside = [layer.job for layer in layers[start:stop]]
    read_later = {name for layer in layers[stop:] for name in (layer.job.input, layer.job.second)}
    between = {job.name for job in inside[:-1]}
    return (
        not any(job.reads_whole or job.output_shape[0] > 1 for job in inside)
        and not between & (read_later | set(outputs))
        and between <= {name for job in inside for name in (job.input, job.second)}
    )


def scaled_device(sram_bytes: int, accumulator_bytes: int) -> AcceleratorDevice:
    """A device with memories of these sizes."""
    return unlimited_device().with_settings(
        {"sram_bytes": str(sram_bytes), "accumulator_bytes": str(accumulator_bytes)}
    )


def with_step(plan: Plan, index: int, step: LayerPlan) -> Plan:
    """The plan with another step."""
    return replace(plan, steps=(*plan.steps[:index], step, *plan.steps[index + 1 :]))
