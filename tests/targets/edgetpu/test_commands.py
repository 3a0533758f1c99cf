"""Commands as text, and what happens to commands that make no sense."""

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tests.targets.edgetpu.small_networks import plan_of, quantised, random_graph, unlimited_device

from mnv3c.graph.activation import HSWISH
from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.affine import Affine
from mnv3c.graph.integer.network import IntegerLayer, IntegerNetwork
from mnv3c.graph.integer.ops import Mean, Product, Reshape, Step, Sum
from mnv3c.graph.integer.tables import activation_table
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Conv2d, Dense, Flatten, GlobalAveragePool, Input
from mnv3c.targets.edgetpu.command_text import format_command, format_stream, parse_stream
from mnv3c.targets.edgetpu.commands import Address, CommandStream, Launch, Load, Requantize, Size, Slab, Store
from mnv3c.targets.edgetpu.execute import Accelerator, execute
from mnv3c.targets.edgetpu.lower_commands import LoweredNetwork, lower_commands
from mnv3c.targets.edgetpu.lower_work import jobs_of
from mnv3c.targets.edgetpu.memories import AccessError
from mnv3c.targets.edgetpu.plan import LayerPlan, Plan, Tiling

HALF, QUARTER = Affine(0.5, -3), Affine(0.25, 7)


def by_hand() -> IntegerNetwork:
    """Four layers whose every number is written here."""
    stem = Conv2d(8, (3, 3), (2, 2), (0, 0, 1, 1), bias=True, activation=HSWISH)
    project = Conv2d(8, bias=True, residual="after_activation")
    nodes = (
        Node("image", Input((1, 6, 6, 4))),
        Node("stem", stem, ("image",)),
        Node("project", project, ("stem", "stem")),
        Node("pool", GlobalAveragePool(), ("project",)),
        Node("flatten", Flatten(), ("pool",)),
        Node("scores", Dense(5, bias=True), ("flatten",)),
    )
    graph = Graph("by-hand", nodes, ("scores",))
    steps: dict[str, tuple[Step, ...]] = {
        "stem": (product(stem, (3, 3, 4, 8), HALF, QUARTER), activation_table(HSWISH, QUARTER, HALF, "single")),
        "project": (product(project, (1, 1, 8, 8), HALF, QUARTER), Sum(QUARTER, HALF, HALF)),
        "pool": (Mean(HALF, QUARTER),),
        "flatten": (Reshape(QUARTER),),
        "scores": (product(Dense(5, bias=True), (8, 5), QUARTER, HALF),),
    }
    layers = {name: IntegerLayer(graph[name], steps[name]) for name in steps}
    return IntegerNetwork(graph, {"image": HALF}, layers, "single")


def product(op: Conv2d | Dense, shape: tuple[int, ...], given: Affine, output: Affine) -> Product:
    weight = (np.arange(np.prod(shape)) % 7 - 3).astype(np.int8).reshape(shape)
    bias = np.arange(shape[-1], dtype=np.int32)
    return Product(op, weight, bias, np.full(shape[-1], 0.125, np.float32), given, output)


def plan_by_hand() -> Plan:
    """The stem in two tiles of rows by two of channels, the projection in two depths, everything between in SRAM."""
    stem, project, pool, scores = jobs_of(by_hand().graph)
    steps = (
        LayerPlan(stem, Tiling(2, 3, 4, 4, "rows_outer"), False, False, True),
        LayerPlan(project, Tiling(3, 3, 8, 4, "weights_outer"), True, True, True),
        LayerPlan(pool, Tiling(3, 3, 8, 8, "weights_outer"), True, False, True),
        LayerPlan(scores, Tiling(1, 1, 5, 8, "weights_outer"), True, False, False, scores.weight_bytes),
    )
    offsets = {"stem": 0, "project": 72, "pool": 144, "scores.weight": 152}
    return Plan(steps, offsets, tile_offset=256, tile_bytes=2048, peak_sram_bytes=2304)


@pytest.fixture(scope="module")
def lowered() -> LoweredNetwork:
    return lower_commands(plan_by_hand(), by_hand(), unlimited_device())


def test_golden_text(lowered: LoweredNetwork, golden: Callable[[str, str], None]) -> None:
    golden("edgetpu-commands.txt", format_stream(lowered.stream))


@pytest.mark.parametrize("seed", range(10))
def test_text_and_stream_are_the_same(seed: int) -> None:
    rng = random.Random(seed)
    network = quantised(random_graph(rng), "float32_rne", seed)
    plan = plan_of(jobs_of(network.graph), network.graph.outputs, rng, "dram")
    stream = lower_commands(plan, network, unlimited_device()).stream
    assert parse_stream(format_stream(stream), "text") == stream


def test_rings_strides_and_odd_names_survive_the_text() -> None:
    ring = Slab(0x40, 3, 5, 7, 99, 11, ring=8, first=6)
    commands = (Launch("a b=c\n#é", Address(0), Address(0), Size(0)), Load(ring, Slab.dense(0, 3, 5, 7)))
    stream = CommandStream("n", "d", "single", Size(9), Size(9), Size(9), Size(9), (), (), (), commands)
    assert parse_stream(format_stream(stream), "text") == stream


def test_empty_lines_and_comments_say_nothing(lowered: LoweredNetwork) -> None:
    text = format_stream(lowered.stream).replace("\nload", "\n\n  # what follows\nload")
    assert parse_stream(text, "text") == lowered.stream


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("stream format", "streem format", "text:1: expected 'stream', not 'streem'"),
        ("mnv3c-commands/1", "mnv3c-commands/9", "text:1: format is 'mnv3c-commands/9', this program reads mnv3c-comm"),
        ("section name=setup", "section name=set-up", "text:4: the section that begins here must be 'setup'"),
        (
            "launch layer=stem",
            "lunch layer=stem",
            "text:7: there is no command 'lunch'; known: launch, resume, load, store,",
        ),
        ("launch layer=stem", "launch", "text:7: launch: expected 'layer=', not 'dram=0x0'"),
        ("launch layer=stem", "launch layer=%zz", "text:7: launch: layer: must be a name"),
        ("launch layer=stem dram=0x0", "launch layer=stem dram=0", "text:7: launch: dram: must be an address such as"),
        ("kernel=3x3", "kernel=3x0", "matmul: kernel: must be two numbers such as 3x3, not '3x0'"),
        ("zero_point=-3", "zero_point=-129", "matmul: zero_point: must be a number in -128..127, not '-129'"),
        ("clamp=-128..127", "clamp=5..4", "requantize: clamp: must be LOW..HIGH within -128..127, not '5..4'"),
        ("arithmetic=fixed", "arithmetic=fix", "arithmetic: must be one of fixed, float32, float64, not 'fix'"),
        (
            "rounding=single",
            "rounding=double",
            "text:1: stream: rounding: must be one of gemmlowp_double, single, float",
        ),
        ("affine=0.5:-3", "affine=0.1:-3", "affine: must be SCALE:ZERO_POINT, a float32 and -128..127, not '0.1:-3'"),
        ("count=9", "count=0", "mean: count: must be a positive number, not '0'"),
        ("count=9", "count=9 count=9", "mean: 'output_affine=0.25:7' is too much"),
        ("count=9 input_affine=0.5:-3", "count=9", "mean: expected 'input_affine=', not 'output_affine=0.25:7'"),
        ("add=no", "add=maybe", "reduce-sum: add: must be yes or no, not 'maybe'"),
    ],
)
def test_bad_text_gives_one_line(lowered: LoweredNetwork, old: str, new: str, message: str) -> None:
    text = format_stream(lowered.stream)
    assert old in text
    with pytest.raises(UserError) as error:
        parse_stream(text.replace(old, new, 1), "text")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_line_with_too_much_and_a_stream_cut_short(lowered: LoweredNetwork) -> None:
    text = format_stream(lowered.stream)
    with pytest.raises(UserError, match=r"section: 'more' is too much"):
        parse_stream(text.replace("\nload", " more\nload", 1), "text")
    with pytest.raises(UserError, match=r"text:5: expected 'section', not '\(end\)'"):
        parse_stream("\n".join(text.splitlines()[:4]), "text")


def test_a_wrong_address_gives_a_wrong_result(lowered: LoweredNetwork) -> None:
    values = {"image": np.arange(144, dtype=np.int8).reshape(1, 6, 6, 4)}
    right = execute(lowered.stream, lowered.image, values)["scores"]
    commands = list(lowered.stream.commands)
    index = next(i for i, command in enumerate(commands) if isinstance(command, Requantize))
    requantize = commands[index]
    assert isinstance(requantize, Requantize)
    commands[index] = replace(requantize, scales=Address(requantize.scales + 1))
    wrong = execute(replace(lowered.stream, commands=tuple(commands)), lowered.image, values)["scores"]
    assert not np.array_equal(right, wrong)


def test_what_reaches_beyond_a_memory_is_named(lowered: LoweredNetwork) -> None:
    size = lowered.stream.sram_bytes
    slab = Slab.dense(size - 1, 1, 1, 2)
    stream = replace(
        lowered.stream,
        commands=(Launch("stem", Address(0), Address(0), Size(0)), Store(slab, replace(slab, address=0))),
    )
    with pytest.raises(AccessError) as error:
        execute(stream, lowered.image, {"image": np.zeros((1, 6, 6, 4), np.int8)})
    assert str(error.value) == (
        f"'by-hand', layer 'stem', command 1 (store): sram {size - 1:#x}..{size:#x} is beyond its {size} bytes"
    )


def test_inputs_and_images_that_do_not_fit(lowered: LoweredNetwork) -> None:
    accelerator = Accelerator.holding(lowered.stream, lowered.image)
    with pytest.raises(UserError, match=r"takes image, not picture"):
        accelerator.run({"picture": np.zeros((1, 6, 6, 4), np.int8)})
    with pytest.raises(UserError, match=r"input 'image' is int8 \[1, 6, 6, 4\], not float32"):
        accelerator.run({"image": np.zeros((1, 6, 6, 4), np.float32)})  # type: ignore[dict-item]
    with pytest.raises(UserError, match=r"the image has \d+ bytes, the DRAM"):
        Accelerator.holding(replace(lowered.stream, dram_bytes=Size(10)), lowered.image)


def test_each_command_is_a_line(lowered: LoweredNetwork) -> None:
    assert format_command(Load(Slab(0x40, 3, 5, 7, 99, 11), Slab.dense(0, 3, 5, 7))) == (
        "load dram=0x40[3x5x7:99,11] sram=0x0[3x5x7]"
    )
    assert all("\n" not in format_command(command) for command in lowered.stream.commands)
