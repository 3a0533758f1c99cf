"""Which kernels the CPU targets offer: every layer gets some, tiles fit the registers, hints change with the device."""

import math
from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.compiler.kernel_runner import KernelRunner, host_variant, relative_error, stored

from mnv3c.graph.activation import ACTIVATION_KINDS, HSIGMOID, RELU, SIGMOID, Activation, ActivationKind
from mnv3c.graph.layer import layer_key, layers
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.networks.tables import Variant
from mnv3c.graph.ops import (
    Activate,
    Add,
    BatchNorm,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    GlobalAveragePool,
    Multiply,
    Op,
    Pool2d,
    Resize,
    Softmax,
)
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.reference import apply_activation
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.cpu.gemm import register_tiles
from mnv3c.targets.cpu.lanes import device_lanes
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import devices, find_device, target_names
from mnv3c.targets.target import Candidate, LayerWork, Storage

MAP, ROW, GATE = (1, 6, 5, 24), (1, 24), (1, 1, 1, 24)
SAME = (1, 1, 1, 1)
LAYERS: list[tuple[str, Op, tuple[tuple[int, ...], ...]]] = [
    ("gemm", Conv2d(40), (MAP,)),
    ("gemm", Conv2d(40, residual="after_activation", activation=RELU), (MAP, (1, 6, 5, 40))),
    ("gemm", Dense(7), (ROW,)),
    ("depthwise", Conv2d(24, (3, 3), padding=SAME, groups=24), (MAP,)),
    ("direct", Conv2d(40, (3, 3)), (MAP,)),
    ("direct", Conv2d(40, stride=(2, 2)), (MAP,)),
    ("direct", Conv2d(40, padding=SAME), (MAP,)),
    ("direct", Conv2d(24, (3, 3)), ((1, 6, 5, 1),)),
    ("direct", ConvTranspose2d(8, (2, 2), (2, 2)), (MAP,)),
    ("window_pool", Pool2d("max", (2, 2), (2, 2)), (MAP,)),
    ("global_pool", GlobalAveragePool(), (MAP,)),
    ("elementwise", Add(), (MAP, MAP)),
    ("elementwise", Multiply(), (MAP, GATE)),
    ("elementwise", Activate(HSIGMOID), (ROW,)),
    ("resize", Resize((12, 10)), (MAP,)),
    ("concat", Concat(), (MAP, MAP)),
    ("softmax", Softmax(), (ROW,)),
]
NOBODYS: list[tuple[str, Op, tuple[tuple[int, ...], ...]]] = [
    ("grouped", Conv2d(40, (3, 3), groups=8), (MAP,)),
    ("channel multiplier", Conv2d(48, (3, 3), groups=24), (MAP,)),
    ("batch norm", BatchNorm(), (MAP,)),
    ("softmax of several rows", Softmax(), ((2, 24),)),
]


def work_of(op: Op, shapes: Sequence[tuple[int, ...]], storage: Sequence[Storage] = ()) -> LayerWork:
    types = tuple(TensorType(shape) for shape in shapes)
    return LayerWork(op, types, op.infer(types), tuple(storage) or stored(types))


def offers(work: LayerWork, device_name: str) -> list[tuple[str, Sequence[Candidate]]]:
    """What each family offers, in order; families that do not know the layer are left out."""
    device = find_device(device_name)
    found = [(family.name, family.candidates(work, device)) for family in load_target(device.target).families()]
    return [(name, candidates) for name, candidates in found if candidates is not None]


@pytest.mark.parametrize(("family", "op", "shapes"), LAYERS, ids=[f"{f}-{i}" for i, (f, _, _) in enumerate(LAYERS)])
@pytest.mark.parametrize("device", ["skylake-avx512", "cortex-a53", "sifive-u74"])
def test_the_first_family_that_knows_a_layer(
    device: str, family: str, op: Op, shapes: tuple[tuple[int, ...], ...]
) -> None:
    found = offers(work_of(op, shapes), device)
    candidates = found[0][1]
    assert candidates and {candidate.family for candidate in candidates} == {family}
    # What makes a candidate must be in its text: the cache of objects is keyed by it.
    assert len({repr(candidate) for candidate in candidates}) == len(candidates)
    assert all(isinstance(value, int) for candidate in candidates for value in candidate.parameters.values())


@pytest.mark.parametrize(("op", "shapes"), [case[1:] for case in NOBODYS], ids=[case[0] for case in NOBODYS])
def test_layers_that_nobody_knows(op: Op, shapes: tuple[tuple[int, ...], ...]) -> None:
    assert offers(work_of(op, shapes), "cortex-a76") == []


@pytest.mark.parametrize(("family", "op", "shapes"), LAYERS, ids=[f"{f}-{i}" for i, (f, _, _) in enumerate(LAYERS)])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_only_direct_convolutions_read_the_callers_tensor(
    layout: Storage, family: str, op: Op, shapes: tuple[tuple[int, ...], ...]
) -> None:
    for raw in range(len(shapes)):
        storage: list[Storage] = ["target"] * len(shapes)
        storage[raw] = layout
        names = {name for name, _ in offers(work_of(op, shapes, storage), "cortex-a76")}
        can = raw == 0 and isinstance(op, Conv2d | ConvTranspose2d) and getattr(op, "groups", 1) == 1
        assert names == ({"direct"} if can else set())


@pytest.mark.parametrize("target", target_names())
def test_every_device_gets_a_kernel_for_every_layer_of_the_networks(target: str) -> None:
    large, small = (mobilenet_v3(variant, batch_norm=False, seed=None) for variant in get_args(Variant))
    graphs = [run_passes(graph, default_passes()) for graph in (large, small)]
    keys = {layer_key(graph, node) for graph in graphs for node in layers(graph)}
    for device in devices(target):
        for key in keys:
            assert KernelRunner(device).candidates(work_of(key.op, key.input_shapes)), f"{device.name}: {key}"


@given(
    st.integers(1, 3200),
    st.integers(1, 1300),
    st.integers(1, 1300),
    st.sampled_from([(512, 32), (256, 16), (128, 32), (128, 16), (32, 32), (32, 8)]),
)
@settings(max_examples=60, derandomize=True, deadline=None)
def test_register_tiles_fit_the_registers(rows: int, depth: int, columns: int, vector: tuple[int, int]) -> None:
    device = find_device("cortex-a76")
    unit = device.vector.model_copy(update={"bits": vector[0], "registers": vector[1]})
    device = device.model_copy(update={"vector": unit})
    tiles = register_tiles(rows, depth, columns, device_lanes(device), device)
    assert tiles and len(set(tiles)) == len(tiles)
    for tile_rows, vectors in tiles:
        assert 1 <= tile_rows <= rows
        assert tile_rows * vectors + vectors + 1 <= device.vector.registers
    assert register_tiles(rows, depth, columns, device_lanes(device), device) == tiles


def test_a_good_tile_comes_first() -> None:
    device = find_device("skylake-avx512")
    tile_rows, vectors = register_tiles(196, 112, 672, device_lanes(device), device)[0]
    # 32 registers, two FMA a cycle of 4 cycles latency: at least 8 independent sums, and most registers in use.
    assert 20 <= tile_rows * vectors <= 28


@pytest.mark.parametrize("kind", ACTIVATION_KINDS)
@pytest.mark.parametrize("bits", [128, 32])
def test_activations_over_the_whole_range(bits: int, kind: ActivationKind) -> None:
    """From subnormal to huge, where exp overflows or the clip is far away."""
    activation = Activation(kind, -1.0, 2.5) if kind == "clip" else Activation(kind)
    runner = KernelRunner(host_variant(bits, 32))
    magnitudes = np.concatenate([[0.0], np.geomspace(1e-38, 3e38, 150), np.linspace(0.1, 100.0, 149)])
    x = np.concatenate([magnitudes, -magnitudes]).astype(np.float32).reshape(1, 1, -1, 12)
    work = runner.work(Activate(activation), [TensorType(x.shape)])
    with np.errstate(over="ignore"):
        expected = apply_activation(activation, x)
    got = runner.run(runner.candidates(work)[0], work, [x], {})
    np.testing.assert_allclose(got, expected, rtol=3e-6, atol=1e-35)


def test_the_sigmoid_is_accurate_to_a_few_units_in_the_last_place() -> None:
    runner = KernelRunner(host_variant(128, 32))
    x = np.linspace(-30.0, 30.0, 4096, dtype=np.float32).reshape(1, 8, 8, 64)
    work = runner.work(Activate(SIGMOID), [TensorType(x.shape)])
    got = runner.run(runner.candidates(work)[0], work, [x], {}).astype(np.float64)
    exact = 1.0 / (1.0 + np.exp(-x.astype(np.float64)))
    assert np.abs(got / exact - 1.0).max() < 4 * 2.0**-23


def test_a_softmax_of_extreme_logits() -> None:
    runner = KernelRunner(host_variant(128, 32))
    x = np.array([[1000.0, 999.0, -1000.0, 0.0, 1000.0]], np.float32)
    work = runner.work(Softmax(), [TensorType(x.shape)])
    got = runner.run(runner.candidates(work)[0], work, [x], {})
    half = 1.0 / (2.0 + math.exp(-1.0))
    expected = np.array([[half, half * math.exp(-1.0), 0.0, 0.0, half]], np.float32)
    assert relative_error(got, expected) < 1e-6
