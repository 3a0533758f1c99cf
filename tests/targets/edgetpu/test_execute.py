"""The command stream, executed over bytes, against the integer reference on whole tensors."""

import random
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from tests.targets.edgetpu.small_networks import (
    Residence,
    fused,
    inverted_residual,
    plan_of,
    quantised,
    random_graph,
    random_input,
    scaled_device,
    unlimited_device,
    with_step,
)

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.network import IntegerNetwork
from mnv3c.graph.integer.ops import ROUNDINGS
from mnv3c.graph.integer.reference import run
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Conv2d, Input, Softmax
from mnv3c.targets.edgetpu.command_text import format_stream, parse_stream
from mnv3c.targets.edgetpu.commands import Load
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.execute import Accelerator, execute
from mnv3c.targets.edgetpu.fused_strips import strips_of
from mnv3c.targets.edgetpu.lower_commands import lower_commands
from mnv3c.targets.edgetpu.lower_work import jobs_of, outputs_of
from mnv3c.targets.edgetpu.plan import GroupPlan, LoopOrder, Plan, Tiling
from mnv3c.targets.edgetpu.work import Job

RESIDENCES = get_args(Residence)


@pytest.fixture(scope="module")
def device() -> AcceleratorDevice:
    return unlimited_device()


@pytest.fixture(scope="module")
def block() -> IntegerNetwork:
    return quantised(inverted_residual())


def require_equal(network: IntegerNetwork, plan: Plan, device: AcceleratorDevice, seed: int = 0) -> None:
    lowered = lower_commands(plan, network, device)
    values = random_input(network, seed)
    found = execute(lowered.stream, lowered.image, {network.graph.inputs[0].name: values})
    for name, expected in run(network, values).items():
        np.testing.assert_array_equal(found[name], expected)


def one_tiling(job: Job, rows: int, columns: int, channels: int, depth: int, order: LoopOrder) -> Tiling:
    """A tiling clipped to the job; softmax needs all its channels."""
    _, height, width, _ = job.input_shape if job.reads_whole else job.output_shape
    whole = isinstance(job.op, Softmax)
    return Tiling(
        min(rows, height),
        min(columns, width) if rows == 1 else width,
        job.n if whole else min(channels, job.n),
        min(depth, job.input_shape[3] // job.groups),
        order,
    )


@pytest.mark.parametrize("residence", RESIDENCES)
@pytest.mark.parametrize("order", get_args(LoopOrder))
@pytest.mark.parametrize(
    "tile",
    [
        pytest.param((99, 99, 99, 99), id="whole"),
        pytest.param((1, 99, 99, 99), id="rows of one"),
        pytest.param((1, 3, 99, 99), id="columns"),
        pytest.param((4, 99, 4, 99), id="channel remainders"),
        pytest.param((3, 99, 99, 2), id="depth"),
        pytest.param((1, 1, 1, 1), id="single outputs"),
    ],
)
def test_awkward_tiles_change_no_value(
    block: IntegerNetwork,
    device: AcceleratorDevice,
    tile: tuple[int, int, int, int],
    order: LoopOrder,
    residence: Residence,
) -> None:
    jobs = jobs_of(block.graph)
    tilings = [one_tiling(job, *tile, order) for job in jobs]
    require_equal(block, plan_of(jobs, outputs_of(block.graph), random.Random(0), residence, tilings), device)


@pytest.mark.parametrize("seed", range(60))
def test_random_networks_and_plans(seed: int, device: AcceleratorDevice) -> None:
    rng = random.Random(seed)
    network = quantised(random_graph(rng), rng.choice(ROUNDINGS), seed)
    plan = plan_of(jobs_of(network.graph), outputs_of(network.graph), rng, rng.choice(RESIDENCES))
    require_equal(network, plan, device, seed)


@pytest.mark.parametrize("seed", range(40))
def test_layers_fused_by_strips(seed: int, device: AcceleratorDevice) -> None:
    rng = random.Random(seed)
    network = quantised(random_graph(rng, batches=(1,)), seed=seed)
    jobs, outputs = jobs_of(network.graph), outputs_of(network.graph)
    plan = fused(plan_of(jobs, outputs, rng, rng.choice(RESIDENCES)), outputs, rng)
    require_equal(network, plan, device, seed)


@pytest.mark.parametrize(("rows", "kept"), [(1, 3), (2, 4), (3, 4), (6, 6)])
def test_a_fused_block_keeps_the_rows_that_windows_need(
    block: IntegerNetwork, device: AcceleratorDevice, rows: int, kept: int
) -> None:
    """Expansion and depthwise of 3x3 on 6 rows: a strip reads a row more on each side, beyond borders none."""
    plan = plan_of(jobs_of(block.graph), outputs_of(block.graph), random.Random(1), "dram")
    expand, depthwise = plan.layers[1:3]
    group = GroupPlan((replace(expand, output_in_sram=True), replace(depthwise, input_in_sram=True)), rows)
    plan = replace(plan, steps=(plan.steps[0], group, *plan.steps[3:]))
    assert strips_of(group).kept_rows == {expand.job.name: kept}
    require_equal(block, plan, device)


def test_what_cannot_be_fused(block: IntegerNetwork, device: AcceleratorDevice) -> None:
    plan = plan_of(jobs_of(block.graph), outputs_of(block.graph), random.Random(1), "sram")
    group = replace(plan, steps=(*plan.steps[:2], GroupPlan(plan.layers[2:4], 1), *plan.steps[4:]))
    with pytest.raises(UserError, match=r"reads its input whole and cannot be fused by strips"):
        lower_commands(group, block, device)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_each_rounding(rounding: str, device: AcceleratorDevice) -> None:
    network = quantised(inverted_residual(batch=2), rounding, 3)  # type: ignore[arg-type]
    plan = plan_of(jobs_of(network.graph), outputs_of(network.graph), random.Random(3), "mixed")
    require_equal(network, plan, device)


def test_tiles_that_read_nothing_but_padding(device: AcceleratorDevice) -> None:
    """A 1x1 kernel on a padded map: the outer rows and columns of the output are tiles of their own."""
    nodes = (Node("image", Input((1, 3, 3, 4))), Node("wide", Conv2d(5, padding=(1, 1, 1, 1), bias=True), ("image",)))
    network = quantised(Graph("padding", nodes, ("wide",)))
    jobs = jobs_of(network.graph)
    plan = plan_of(jobs, ("wide",), random.Random(0), "dram", [Tiling(1, 1, 5, 4, "rows_outer")])
    require_equal(network, plan, device)
    stream = lower_commands(plan, network, device).stream
    assert parse_stream(format_stream(stream), "text") == stream


@pytest.mark.parametrize(("sram_bytes", "buffers"), [(2048, 2), (1280, 1)])
def test_where_two_buffers_do_not_fit_one_is_used(sram_bytes: int, buffers: int) -> None:
    """A tile of 2 rows: 288 bytes of input, 96 of output, 64 of weights; half of the SRAM is 1024 bytes, or 640."""
    nodes = (Node("image", Input((1, 8, 12, 12))), Node("narrow", Conv2d(4, bias=True), ("image",)))
    network = quantised(Graph("tight", nodes, ("narrow",)))
    plan = plan_of(jobs_of(network.graph), ("narrow",), random.Random(0), "dram", [Tiling(2, 12, 4, 12)])
    plan = replace(plan, tile_offset=0, tile_bytes=0)
    device = scaled_device(sram_bytes, 4096)
    require_equal(network, plan, device)
    loads = [command for command in lower_commands(plan, network, device).stream.commands if isinstance(command, Load)]
    assert len({load.sram.address for load in loads if load.sram.elements == 288}) == buffers
    with pytest.raises(UserError, match=r"layer 'narrow': a tile takes 448 bytes, its buffers have 412"):
        lower_commands(replace(plan, tile_offset=1224), network, device.with_settings({"sram_bytes": "2048"}))


def test_plans_that_do_not_go_with_the_network(block: IntegerNetwork, device: AcceleratorDevice) -> None:
    plan = plan_of(jobs_of(block.graph), outputs_of(block.graph), random.Random(2), "dram")
    with pytest.raises(UserError, match=r"tensor 'conv2d1' is not in SRAM"):
        lower_commands(with_step(plan, 1, replace(plan.layers[1], input_in_sram=True)), block, device)
    (job,) = jobs_of(quantised(random_graph(random.Random(3))).graph)[:1]
    with pytest.raises(UserError, match=r"quantised network 'block' has no layer"):
        lower_commands(with_step(plan, 0, replace(plan.layers[0], job=replace(job, name="other"))), block, device)
    softmax = plan.layers[-1]
    cut = replace(softmax, tiling=Tiling(1, 1, 3, 3))
    with pytest.raises(UserError, match=r"softmax needs all 10 channels in one tile"):
        lower_commands(with_step(plan, len(plan.layers) - 1, cut), block, device)


def test_a_second_inference_does_not_see_the_first(block: IntegerNetwork, device: AcceleratorDevice) -> None:
    plan = plan_of(jobs_of(block.graph), outputs_of(block.graph), random.Random(5), "mixed")
    lowered = lower_commands(plan, block, device)
    accelerator = Accelerator.holding(lowered.stream, lowered.image)
    for seed in (1, 2):
        values = random_input(block, seed)
        (expected,) = run(block, values).values()
        (found,) = accelerator.run({"image": values}).values()
        np.testing.assert_array_equal(found, expected)
