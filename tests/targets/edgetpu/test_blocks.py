"""The timing of block engines: against walking over blocks, by hand, and by what must hold for any network."""

import functools
import random
from dataclasses import replace
from itertools import pairwise
from math import ceil

import pytest
from tests.graph.samples import chain
from tests.targets.edgetpu.random_machines import random_network

from mnv3c.graph.activation import HSIGMOID, HSWISH, RELU, SIGMOID
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import (
    Activate,
    Add,
    ChannelAffine,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Input,
    Multiply,
    Pool2d,
    Resize,
    ScalarAffine,
    Softmax,
)
from mnv3c.targets.edgetpu.block_engine import Block, Engine, WindowedOperator
from mnv3c.targets.edgetpu.block_layers import operators_of
from mnv3c.targets.edgetpu.block_operators import Access, Operator, Stages
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.emulate import emulate, emulate_with_timeline
from mnv3c.targets.edgetpu.emulation import Emulation, LayerEmulation
from mnv3c.targets.edgetpu.lower_work import jobs_of
from mnv3c.targets.edgetpu.settings import find_accelerator

SMALL, LARGE = "ethos-u55-256", "ethos-u65-512"
DEVICES = pytest.mark.parametrize("name", [SMALL, LARGE])
SEEDS = range(100)


@functools.cache
def accelerator(name: str) -> AcceleratorDevice:
    return find_accelerator(name)


def emulated(graph: Graph, device: AcceleratorDevice) -> Emulation:
    return emulate(graph.name, jobs_of(graph), graph.outputs, device)


def stages_of(device: AcceleratorDevice) -> Stages:
    assert device.blocks is not None
    blocks = device.blocks
    return Stages(
        Engine.of(device),
        blocks.sum_cycles,
        blocks.product_cycles,
        blocks.int32_product_cycles,
        blocks.bytes_per_channel,
    )


def random_window(rng: random.Random) -> WindowedOperator:
    kind = rng.choice(("convolution", "depthwise", "pool"))
    kernel = (rng.choice((1, 2, 3, 5, 7, 9)), rng.choice((1, 3, 5, 11)))
    stride = (rng.choice((1, 1, 2, 3)), rng.choice((1, 2)))
    output = (rng.randint(1, 70), rng.randint(1, 70), rng.choice((1, 3, 8, 16, 24, 40, 72, 130)))
    channels = rng.choice((1, 3, 8, 9, 16, 33, 96)) if kind == "convolution" else output[2]
    extent = tuple((outputs - 1) * step + taps for outputs, step, taps in zip(output, stride, kernel, strict=False))
    return WindowedOperator(kind, (extent[0], extent[1], channels), output, kernel, stride)


def walked(device: AcceleratorDevice, operator: WindowedOperator, block: Block) -> tuple[float, int, int]:
    """MAC cycles, input positions read and planes of blocks, by visiting each block and each group of channels."""
    assert device.blocks is not None
    height, width, depth = operator.output
    cycles = planes = positions = 0
    for top in range(0, height, block.height):
        for left in range(0, width, block.width):
            planes += 1
            across = len(range(left, min(left + block.width, width), 2))
            down = len(range(top, min(top + block.height, height), 2))
            for first in range(0, depth, block.depth):
                if first == 0 or operator.kind == "convolution":
                    rows, columns = (
                        min(block.input_height, operator.input[0]),
                        min(block.input_width, operator.input[1]),
                    )
                    positions += rows * columns
                for _ in range(first, min(first + block.depth, depth), 8):
                    least = 0 if operator.kind == "pool" else 32
                    cycles += max(least, 4 * across * down) * taps_steps(operator)
    return cycles / device.blocks.cores, positions, planes


def taps_steps(operator: WindowedOperator) -> int:
    """Steps of 4 taps (pools: 4 cycles at least), of 32 channels, or of 4 taps x 8 channels, whichever wastes least."""
    rows, columns = operator.kernel
    pieces = [min(8, rows - y) * min(8, columns - x) for y in range(0, rows, 8) for x in range(0, columns, 8)]
    channels = operator.input[2]
    if operator.kind != "convolution":
        return sum(ceil(piece / 4) for piece in pieces)
    by_taps, by_channels = ceil(rows * columns / 4) * ceil(channels / 8), rows * columns * ceil(channels / 32)
    return by_taps if channels <= 8 else min(by_taps, by_channels)


@DEVICES
@pytest.mark.parametrize("seed", SEEDS)
def test_closed_forms_equal_walking_over_blocks(name: str, seed: int) -> None:
    device, rng = accelerator(name), random.Random(seed)
    stages = stages_of(device)
    for _ in range(5):
        operator = random_window(rng)
        block = stages.engine.block(operator)
        found = stages.windowed(operator, "x", "y")
        cycles, positions, planes = walked(device, operator, block)
        assert found.array_cycles == cycles
        assert found.reads[0].positions == positions
        assert found.weight_reads == (found.weights * planes if operator.kind == "convolution" else 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_blocks_fit_into_their_buffers(seed: int) -> None:
    device, rng = accelerator(SMALL), random.Random(seed)
    engine = Engine.of(device)
    for _ in range(20):
        operator = random_window(rng)
        block = engine.block(operator)
        deep = block.depth if operator.kind != "convolution" else min(32, 8 * ceil(operator.input[2] / 8))
        if engine.by_taps(operator):
            deep = min(deep, 16)
        inputs = ceil(block.input_height * block.input_width * deep / 1024) * 2
        sums = ceil(block.height * block.width * block.depth * 4 / 1024) * 2
        assert ceil(inputs / 8) * 8 + ceil(sums / 16) * 16 <= 44
        assert block.height % 2 == block.width % 2 == block.depth % 8 == 0
        assert block.width <= 16 and block.height <= 32


def test_a_matrix_goes_at_the_flashs_pace() -> None:
    graph = chain((1, 1280), ("classifier", Dense(1000, bias=True)))
    (layer,) = emulated(graph, accelerator(SMALL)).layers
    # A byte a cycle; 0.93 of each weight is stored, and 10 bytes a channel.
    assert layer.cycles == ceil(1280 * 1000 * 0.93) + 10 * 1000
    # Each of 125 x 40 steps decodes 256 weights, 8 a cycle.
    assert layer.busy_cycles["array"] == 125 * 40 * 32
    assert (layer.stall, layer.movement.dram_read_bytes) == ("weights", layer.cycles)


def test_a_wide_convolution_by_hand() -> None:
    graph = chain((1, 16, 16, 64), ("grow", Conv2d(64)), ("shrink", Conv2d(64)), ("last", Conv2d(8)))
    device = accelerator(LARGE).with_settings({"dram_bytes_per_s": None})
    layer = emulated(graph, device).layers[1]
    # Accumulators of 4 x 16 x 64 take 16 KiB twice, and the next even height would take all of the 44: 4 planes, each
    # of 2 x 8 micro-blocks, 2 steps (32 of 64 inputs each), 8 outputs at a time, on two cores.
    mac = 4 * (4 * 2 * 8) * 2 * 8 // 2
    out = 16 * 16 * 64 // 8
    assert (layer.busy_cycles["array"], layer.busy_cycles["vector"]) == (mac, out)
    # Input and output pass once; the weights of 64 x 64 are read for each plane.
    sram = 16 * 16 * 64 * 2 + 4 * ceil(64 * 64 * 0.93)
    assert layer.cycles == ceil(max(sram / 16, max(mac, out) + max(min(mac, out), (mac + out) / 4) / 4))


def test_the_image_is_read_in_whole_bursts_but_only_its_bytes_count() -> None:
    graph = chain((1, 32, 32, 3), ("stem", Conv2d(16, (3, 3), (2, 2), (0, 0, 1, 1))), ("next", Conv2d(8)))
    large, small = (emulated(graph, accelerator(name)).layers[0] for name in (LARGE, SMALL))
    assert large.stall == "activations"
    weights = ceil(12 * 8 * 16 * 0.93)
    assert large.busy_cycles["dma"] >= 32 * 32 * 3 * 16 / 3.75
    image = large.movement.dram_read_bytes - weights
    assert 32 * 32 * 3 <= image < 2 * 32 * 32 * 3
    # In the SRAM of the smaller one.
    assert small.movement.dram_read_bytes < image < small.movement.array_sram_read_bytes


def test_a_gate_is_timed_as_a_tensor_but_moved_as_a_row() -> None:
    graph = chain(
        (1, 14, 14, 32),
        ("before", Conv2d(32)),
        ("pool", GlobalAveragePool()),
        ("gate", Conv2d(32, activation=HSIGMOID)),
        Node("scale", Multiply(), ("before", "gate")),
        ("after", Conv2d(32)),
    )
    scale = emulated(graph, accelerator(LARGE)).layers[3]
    assert scale.cycles == 3 * 14 * 14 * 32 // 16 and scale.stall == "vector"
    assert scale.movement.vector_sram_read_bytes == 14 * 14 * 32 + 32


def test_fused_layers_take_as_long_as_the_separate_ones() -> None:
    start, last = ("a", Conv2d(24)), ("last", Conv2d(8))
    sum_of = Node("sum", Add(), ("a", "b"))
    separate = chain((1, 9, 9, 16), start, ("b", Conv2d(24)), sum_of, last)
    fused = chain((1, 9, 9, 16), start, Node("b", Conv2d(24, residual="before_activation"), ("a", "a")), last)
    one, two = (emulated(graph, accelerator(SMALL)) for graph in (fused, separate))
    # Operators of one layer are rounded up to cycles each, as layers are.
    assert one.total_cycles == two.total_cycles


def test_tables_are_fused_into_convolutions_but_hsigmoid_is_not() -> None:
    def cycles(activation: object) -> LayerEmulation:
        graph = chain((1, 32, 32, 16), ("a", Conv2d(16)), ("b", Conv2d(16, activation=activation)), ("c", Conv2d(8)))
        return emulated(graph, accelerator(SMALL)).layers[1]

    plain, relu, hswish, sigmoid, hsigmoid = map(cycles, (None, RELU, HSWISH, SIGMOID, HSIGMOID))
    assert plain.cycles == relu.cycles < hswish.cycles == sigmoid.cycles < hsigmoid.cycles
    assert hswish.busy_cycles["vector"] == 4 * plain.busy_cycles["vector"] and hswish.stall == "vector"


ODD = {
    "strided": Conv2d(12, (3, 3), (2, 2), (1, 1, 1, 1)),
    "dilated": Conv2d(12, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    "grouped": Conv2d(12, (3, 3), (1, 1), (1, 1, 1, 1), groups=2),
    "huge window": Conv2d(5, (11, 9)),
    "depthwise": Conv2d(10, (5, 5), (1, 1), (2, 2, 2, 2), groups=10),
    "transposed": ConvTranspose2d(7, (2, 2), (2, 2)),
    "wide transposed": ConvTranspose2d(7, (4, 4), (2, 2), (1, 1, 1, 1)),
    "max": Pool2d("max", (2, 2), (2, 2)),
    "average": Pool2d("average", (3, 3), (1, 1), (1, 1, 1, 1)),
    "mean": GlobalAveragePool(),
    "nearest": Resize((26, 22), "nearest", "asymmetric"),
    "bilinear": Resize((26, 22)),
    "shrunk": Resize((5, 3)),
    "hswish": Activate(HSWISH),
    "hsigmoid": Activate(HSIGMOID),
    "relu": Activate(RELU),
    "scalar": ScalarAffine(2.0, 1.0),
    "shift": ChannelAffine(),
    "scale and shift": ChannelAffine(scale=True),
}


@DEVICES
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("op", ODD.values(), ids=ODD)
def test_every_kind_of_layer_is_timed(name: str, op: object, batch: int) -> None:
    device = accelerator(name)
    layers = emulated(
        chain((batch, 13, 11, 10), ("before", Conv2d(10)), ("odd", op), ("after", Conv2d(4))), device
    ).layers
    layer = layers[1]
    assert layer.cycles >= max(layer.busy_cycles.values()) and max(layer.busy_cycles.values()) > 0
    assert 0 <= layer.utilization <= 1 and layer.movement.macs == jobs_of_op(op, batch)
    assert layer.total_energy_pj > 0
    single = emulated(chain((1, 13, 11, 10), ("before", Conv2d(10)), ("odd", op), ("after", Conv2d(4))), device).layers[
        1
    ]
    # Rounded up once for all images, not once for each of an operator's.
    operators = 4
    assert batch * single.cycles - batch * operators <= layer.cycles <= batch * single.cycles


def jobs_of_op(op: object, batch: int) -> int:
    graph = chain((batch, 13, 11, 10), ("before", Conv2d(10)), ("odd", op))
    return jobs_of(graph)[1].macs


@DEVICES
def test_concatenation_copies_and_softmax_passes_four_times(name: str) -> None:
    device = accelerator(name)
    graph = chain(
        (1, 6, 6, 16), ("a", Conv2d(16)), ("b", Conv2d(32)), Node("both", Concat(), ("a", "b")), ("c", Conv2d(8))
    )
    both = emulated(graph, device).layers[2]
    assert device.vector.output_lanes is not None
    assert both.busy_cycles["vector"] == 6 * 6 * 48 // device.vector.output_lanes
    assert both.movement.vector_sram_read_bytes == both.movement.vector_sram_write_bytes == 6 * 6 * 48
    graph = chain((1, 1, 1, 32), ("flat", Flatten()), ("fc", Dense(48)), ("softmax", Softmax()))
    softmax = emulated(graph, device).layers[1]
    assert device.blocks is not None
    assert softmax.busy_cycles["vector"] == 4 * ceil(48 * device.blocks.int32_product_cycles)


def test_a_batch_of_rows_fills_the_array() -> None:
    device = accelerator(LARGE)
    one, many = (emulated(chain((rows, 256), ("fc", Dense(64))), device).layers[0] for rows in (1, 16))
    assert many.busy_cycles["array"] < 16 * one.busy_cycles["array"] / 4
    assert many.utilization > 4 * one.utilization


@DEVICES
@pytest.mark.parametrize("seed", SEEDS)
def test_no_faster_than_any_resource_and_the_timeline_agrees(name: str, seed: int) -> None:
    jobs, outputs = random_network(seed)
    result, intervals = emulate_with_timeline("random", jobs, outputs, accelerator(name))
    assert result == emulate("random", jobs, outputs, accelerator(name))
    events = list(intervals)
    assert max(event.end_cycle for event in events) <= result.total_cycles
    for layer in result.layers:
        assert layer.cycles >= max(layer.busy_cycles.values())
        assert set(layer.energy_pj) and all(value >= 0 for value in layer.energy_pj.values())
        assert min(vars(layer.movement).values()) >= 0
        for resource, busy in layer.busy_cycles.items():
            own = [event for event in events if (event.layer, event.resource) == (layer.name, resource)]
            assert sum(event.end_cycle - event.start_cycle for event in own) == busy
            assert all(one.end_cycle <= next_.start_cycle for one, next_ in pairwise(own))


GROWING = {
    "dram_bytes_per_s": ("20 MB/s", "100 MB/s", "1 GB/s", "9 GB/s", None),
    "bank_bytes_per_cycle": (1, 2, 5, 64),
    "lanes": (1, 2, 7, None),
    "output_lanes": (1, 3, 16, None),
    "sram_bytes": (1024, 4096, 16384, 65536, 1 << 20, None),
}


@pytest.mark.parametrize("key", GROWING)
@pytest.mark.parametrize("pins", [False, True])
def test_no_device_that_has_more_is_slower(key: str, pins: bool) -> None:
    for seed in SEEDS:
        jobs, outputs = random_network(seed)
        device = accelerator(LARGE if seed % 2 else SMALL).with_settings({"pins_weights": pins})
        totals = [
            emulate("x", jobs, outputs, device.with_settings({key: value})).total_cycles for value in GROWING[key]
        ]
        assert totals == sorted(totals, reverse=True)


def test_no_faster_clock_is_slower() -> None:
    for seed in SEEDS:
        jobs, outputs = random_network(seed)
        stages = stages_of(accelerator(SMALL))
        operators = sum(len(operators_of(job, stages)) for job in jobs)
        last = float("inf")
        for clock in (10**8, 3 * 10**8, 10**9):
            device = accelerator(SMALL).with_settings({"clock_hz": clock})
            seconds = emulate("x", jobs, outputs, device).total_cycles / clock
            # Each operator is rounded up to whole cycles.
            assert seconds <= last + operators / clock
            last = seconds


def test_what_the_sram_cannot_hold_passes_both_ports() -> None:
    graph = chain((1, 32, 32, 16), ("a", Conv2d(16)), ("b", Conv2d(16)), ("c", Conv2d(16)))
    device = accelerator(LARGE)
    roomy, tight = emulated(graph, device), emulated(graph, device.with_settings({"sram_bytes": "8K"}))
    assert roomy.peak_sram_bytes == 2 * 32 * 32 * 16 and tight.peak_sram_bytes == 0
    assert roomy.layers[1].movement.dram_write_bytes == 0 < tight.layers[1].movement.dram_write_bytes
    assert tight.layers[1].movement.array_sram_read_bytes == roomy.layers[1].movement.array_sram_read_bytes
    assert tight.layers[1].cycles > roomy.layers[1].cycles


def test_pinned_weights_are_not_fetched() -> None:
    graph = chain((1, 8, 8, 64), ("a", Conv2d(256)), ("b", Conv2d(64)))
    device = accelerator(SMALL)
    fetched, pinned = emulated(graph, device), emulated(graph, device.with_settings({"pins_weights": True}))
    assert pinned.layers[1].movement.dram_read_bytes == 10 * 64
    assert fetched.layers[1].movement.dram_read_bytes == 10 * 64 + ceil(256 * 64 * 0.93)
    assert pinned.total_cycles < fetched.total_cycles


def test_launches_are_added_to_each_layer() -> None:
    jobs, outputs = random_network(3)
    device = accelerator(SMALL)
    slow = device.with_settings({"launch_cycles": 100})
    assert emulate("x", jobs, outputs, slow).total_cycles == emulate(
        "x", jobs, outputs, device
    ).total_cycles + 100 * len(jobs)


def test_an_operator_counts_its_tables_and_sums() -> None:
    plain = Operator("x", 1.0, 1.0, 1.0, (), Access("y", 16, 8), outputs=128, steps=3)
    assert (plain.vector_operations, plain.accumulator_bytes) == (128, 128 * 3 * 8)
    assert replace(plain, table=True).vector_operations == 2 * 128


def test_the_graphs_input_needs_no_name_of_its_own() -> None:
    nodes = (Node("x", Input((1, 4, 4, 8))), Node("twice", Add(), ("x", "x")))
    (layer,) = emulated(Graph("twice", nodes, ("twice",)), accelerator(LARGE)).layers
    # Both operands and the result lie in DRAM, dense.
    assert (layer.movement.dram_read_bytes, layer.movement.dram_write_bytes) == (2 * 128, 128)
