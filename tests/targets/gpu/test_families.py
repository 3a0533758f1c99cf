"""Every family's kernels against the NumPy reference, on whatever OpenCL there is: awkward sizes, all candidates."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.targets.gpu.opencl_runner import GpuRunner, caller_order

from mnv3c.graph.activation import HSIGMOID, HSWISH, RELU, RELU6, SIGMOID, Activation
from mnv3c.graph.ops import (
    Activate,
    Add,
    BatchNorm,
    ChannelAffine,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    GlobalAveragePool,
    Multiply,
    Op,
    Pool2d,
    Resize,
    ScalarAffine,
    Softmax,
)
from mnv3c.graph.tensor import Layout, TensorType
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.precision import Float, Precision
from mnv3c.targets.gpu.target import GpuTarget
from mnv3c.targets.registry import devices, find_device

Shape = tuple[int, ...]
SAME = (1, 1, 1, 1)
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}
ALL = [device.name for target in ("adreno", "mali") for device in devices(target, GpuDevice)]
MAP, ROW, GATE = (1, 7, 5, 9), (1, 31), (1, 1, 1, 9)
LAYERS: list[tuple[str, Op, tuple[Shape, ...]]] = [
    ("pointwise", Conv2d(13, bias=True, activation=HSWISH), ((1, 7, 7, 9),)),
    ("pointwise", Conv2d(33, bias=True, residual="before_activation", activation=RELU), ((1, 5, 7, 1), (1, 5, 7, 33))),
    ("pointwise", Conv2d(16, residual="after_activation", activation=HSWISH), ((1, 1, 31, 33), (1, 1, 31, 16))),
    ("row_product", Conv2d(16, bias=True, activation=HSIGMOID), ((1, 1, 1, 33),)),
    ("row_product", Conv2d(7, residual="before_activation"), ((1, 1, 1, 1), (1, 1, 1, 7))),
    ("row_product", Dense(1001, bias=True), ((1, 67),)),
    ("row_product", Dense(1), ((1, 1),)),
    ("depthwise", Conv2d(9, (5, 5), (2, 2), (1, 2, 2, 2), groups=9, bias=True, activation=RELU6), ((1, 31, 33, 9),)),
    ("depthwise", Conv2d(9, (3, 3), padding=(2, 2, 2, 2), dilation=(2, 2), groups=9), (MAP,)),
    ("depthwise", Conv2d(6, (7, 1), (1, 3), groups=6, residual="after_activation"), ((1, 7, 33, 6), (1, 1, 11, 6))),
    ("depthwise", Conv2d(5, (3, 3), padding=SAME, groups=5, bias=True, activation=RELU), ((1, 1, 1, 5),)),
    ("direct", Conv2d(11, (3, 3), (2, 2), SAME, bias=True, activation=RELU), ((1, 31, 33, 7),)),
    ("direct", Conv2d(8, (3, 3), padding=SAME, groups=2, activation=RELU), ((1, 6, 5, 16),)),
    ("direct", Conv2d(21, (1, 1), (2, 2), bias=True), (MAP,)),
    ("direct", Conv2d(3, (2, 5), (1, 2), (0, 4, 1, 0), (2, 1), residual="before_activation"), (MAP, (1, 6, 3, 3))),
    ("transposed", ConvTranspose2d(6, (2, 2), (2, 2), bias=True, activation=SIGMOID), ((1, 7, 9, 10),)),
    ("transposed", ConvTranspose2d(5, (3, 3), (2, 2), (1, 1, 0, 0)), ((1, 7, 9, 10),)),
    ("transposed", ConvTranspose2d(17, (1, 4), (3, 1), (0, 2, 0, 1)), (MAP,)),
    ("global_pool", GlobalAveragePool(), ((1, 31, 7, 9),)),
    ("global_pool", GlobalAveragePool(), ((1, 1, 1, 3),)),
    ("pool", Pool2d("max", (3, 3), (2, 2), SAME), ((1, 31, 7, 9),)),
    ("pool", Pool2d("average", (3, 2), (2, 1), SAME), (MAP,)),
    ("pool", Pool2d("average", (3, 3), (2, 2), SAME, count_padding=True), (MAP,)),
    ("elementwise", Multiply(), (MAP, GATE)),
    ("elementwise", Multiply(), (MAP, MAP)),
    ("elementwise", Add(RELU), (MAP, MAP)),
    ("elementwise", ChannelAffine(True, True), (MAP,)),
    ("elementwise", ChannelAffine(True, False), (ROW,)),
    ("elementwise", ScalarAffine(2.0, -1.0), (MAP,)),
    ("elementwise", Activate(SIGMOID), (ROW,)),
    ("elementwise", Activate(Activation("clip", -0.5, 0.75)), (MAP,)),
    ("concat", Concat(), (MAP, (1, 7, 5, 3), (1, 7, 5, 1))),
    ("concat", Concat(), ((1, 7, 5, 8), (1, 7, 5, 4), (1, 7, 5, 3))),
    ("resize", Resize((9, 11)), (MAP,)),
    ("resize", Resize((3, 31), "bilinear", "align_corners"), (MAP,)),
    ("resize", Resize((1, 12), "bilinear", "pytorch_half_pixel"), (MAP,)),
    ("resize", Resize((14, 10), "nearest", "asymmetric"), (MAP,)),
    ("resize", Resize((9, 11), "nearest"), (MAP,)),
    ("softmax", Softmax(), ((1, 1001),)),
    ("softmax", Softmax(), ((1, 1),)),
]


def runner(device: str = "adreno-640", storage: Float = "fp32") -> GpuRunner:
    found = find_device(device, kind=GpuDevice)
    return GpuRunner(GpuTarget(found.target).with_storage(storage), found)


def types(shapes: Sequence[Shape]) -> list[TensorType]:
    return [TensorType(shape) for shape in shapes]


@pytest.mark.parametrize("storage", ["fp32", "fp16"])
@pytest.mark.parametrize(("family", "op", "shapes"), LAYERS)
def test_every_family_computes_what_the_reference_does(
    family: str, op: Op, shapes: tuple[Shape, ...], storage: Float
) -> None:
    gpu = runner("mali-g76", storage)
    work = gpu.work(op, types(shapes))
    candidate, *_ = gpu.candidates(work)
    assert candidate.family == family
    assert gpu.error(candidate, work) <= TOLERANCE[storage]


@pytest.mark.parametrize("family", sorted({family for family, *_ in LAYERS}))
def test_every_candidate_of_a_layer_computes_the_same(family: str) -> None:
    gpu = runner("adreno-640")
    op, shapes = next((op, shapes) for name, op, shapes in LAYERS if name == family)
    work = gpu.work(op, types(shapes))
    assert all(gpu.error(candidate, work) <= TOLERANCE["fp32"] for candidate in gpu.candidates(work))


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("storage", ["fp32", "fp16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_stem_reads_the_callers_tensor(layout: Layout, storage: Float, channels: int) -> None:
    gpu = runner("adreno-640", storage)
    op = Conv2d(11, (3, 3), (2, 2), SAME, bias=True, activation=HSWISH)
    work = gpu.work(op, types([(1, 31, 33, channels)]), (layout,))
    assert gpu.error(gpu.candidates(work)[0], work) <= TOLERANCE[storage]


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("storage", ["fp32", "fp16"])
@pytest.mark.parametrize("shape", [(1, 5, 7, 9), (1, 1, 33, 8), (1, 31)])
def test_borders_keep_every_value(layout: Layout, storage: Float, shape: Shape) -> None:
    gpu = runner("mali-g72", storage)
    x = np.random.default_rng(1).standard_normal(shape, np.float32)
    rounded = x.astype(gpu.dtype).astype(np.float32)
    np.testing.assert_array_equal(gpu.convert(x, layout, "in"), rounded)
    np.testing.assert_array_equal(gpu.convert(x, layout, "out"), caller_order(rounded, layout).ravel())


@pytest.mark.parametrize(("layout", "storage"), [("NHWC", "fp32"), ("NCHW", "fp32"), ("NCHW", "fp16")])
@pytest.mark.parametrize("family", sorted({family for family, *_ in LAYERS}))
def test_every_family_writes_the_callers_tensor_too(family: str, layout: Layout, storage: Float) -> None:
    gpu = runner("mali-g76", storage)
    op, shapes = next((op, shapes) for name, op, shapes in LAYERS if name == family)
    work = gpu.work(op, types(shapes))
    assert gpu.delivering_error(gpu.candidates(work)[-1], work, layout) <= TOLERANCE[storage]


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        (Conv2d(40, (3, 3), groups=8), ((1, 6, 5, 24),)),
        (Conv2d(48, (3, 3), groups=24), ((1, 6, 5, 24),)),
        (BatchNorm(), (MAP,)),
        (Softmax(), ((2, 24),)),
    ],
)
def test_what_no_family_knows_is_offered_by_none(op: Op, shapes: tuple[Shape, ...]) -> None:
    gpu = runner()
    assert not gpu.candidates(gpu.work(op, types(shapes)))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("family", "op", "shapes"), LAYERS)
def test_candidates_fit_their_device(family: str, op: Op, shapes: tuple[Shape, ...], name: str) -> None:
    gpu = runner(name)
    offered = gpu.candidates(gpu.work(op, types(shapes)))
    assert offered and len(set(offered)) == len(offered)
    for candidate in offered:
        assert math.prod(candidate.local) <= gpu.device.opencl.work_group_items
        assert candidate.local_memory_bytes <= gpu.device.opencl.local_memory_bytes
        assert candidate.registers <= gpu.device.cores.registers_per_item
        assert all(size % local == 0 for size, local in zip(candidate.grid.global_size, candidate.local, strict=True))


def test_a_movable_kernel_gives_the_same_with_any_work_group() -> None:
    gpu = runner()
    work = gpu.work(Conv2d(13, bias=True), types([(1, 7, 7, 9)]))
    candidate = gpu.candidates(work)[0]
    assert candidate.movable
    for local in ((1, 1, 1), (3, 5, 1), (128, 2, 1)):
        assert gpu.error(candidate.with_local(local), work) <= TOLERANCE["fp32"]


def test_softmax_of_large_values_does_not_overflow() -> None:
    gpu = runner()
    work = gpu.work(Softmax(), types([(1, 5)]))
    x = np.array([[1e4, -1e4, 9999.0, 0.0, 1e4]], np.float32)
    got = gpu.run(gpu.candidates(work)[0], work, [x], {})
    np.testing.assert_allclose(got.sum(), 1.0, rtol=1e-6)
    assert got[0, 0] == got[0, 4] > got[0, 2] > got[0, 3] == 0.0


def test_weights_beyond_the_largest_half_become_the_largest() -> None:
    gpu = runner(storage="fp16")
    work = gpu.work(Dense(2), types([(1, 3)]))
    packed = gpu.candidates(work)[0].pack({"weight": np.full((3, 2), 1e6, np.float32)})
    assert packed[0].dtype == np.float16 and float(packed[0].max()) == 65504.0
    assert packed[1].dtype == np.float32


def test_arithmetic_in_halves_needs_halves_in_memory() -> None:
    with pytest.raises(ValueError, match="halves in memory"):
        Precision("fp32", "fp16")


extents = st.integers(1, 17)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Op, list[Shape]]:
    """Any convolution of a small map: kernel, stride, padding, dilation, depthwise or not."""
    kernel, stride = draw(st.tuples(st.integers(1, 5), st.integers(1, 5))), draw(st.tuples(*[st.integers(1, 3)] * 2))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
    reach = [dilation[n] * (kernel[n] - 1) + 1 - padding[n] - padding[n + 2] for n in (0, 1)]
    height, width = (max(draw(extents), extent, 1) for extent in reach)
    channels, outputs = draw(extents), draw(st.integers(1, 40))
    depthwise = channels > 1 and draw(st.booleans())
    activation = draw(st.sampled_from([None, RELU, HSWISH, SIGMOID]))
    op = Conv2d(
        channels if depthwise else outputs,
        kernel,
        stride,
        padding,
        dilation,
        channels if depthwise else 1,
        draw(st.booleans()),
        activation,
        draw(st.sampled_from([None, "before_activation", "after_activation"])),
    )
    shape = (1, height, width, channels)
    plain = Conv2d(op.out_channels, kernel, stride, padding, dilation, op.groups)
    return op, [shape, plain.infer((TensorType(shape),)).shape][: 2 if op.residual else 1]


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(layer=convolutions(), device=st.sampled_from(ALL), choice=st.integers(0, 11))
def test_random_convolutions(layer: tuple[Op, list[Shape]], device: str, choice: int) -> None:
    op, shapes = layer
    gpu = runner(device)
    work = gpu.work(op, types(shapes))
    offered = gpu.candidates(work)
    assert gpu.error(offered[choice % len(offered)], work) <= TOLERANCE["fp32"]
