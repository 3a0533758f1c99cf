"""Kernels of `--accumulate fp16`, executed: every family on awkward shapes, in the arithmetic of halves."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.targets.gpu.half_runner import HalfRunner
from tests.targets.gpu.opencl_runner import relative_error
from tests.targets.gpu.test_families import LAYERS, TOLERANCE, Shape, types

from mnv3c.compiler.check_input import check_input
from mnv3c.graph.activation import Activation
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import ChannelAffine, Conv2d, ConvTranspose2d, Dense, Op, Pool2d, Resize, activation_of
from mnv3c.graph.reference import evaluate, run
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.target import GpuTarget
from mnv3c.targets.registry import find_device

Halves = np.ndarray[Any, np.dtype[np.float16]]
# Divisions, exponentials, weights of interpolation: their rounding is the kernel's own affair.
INEXACT = ("softmax", "global_pool")


@pytest.fixture(scope="module")
def gpu() -> HalfRunner:
    device = find_device("mali-g76", kind=GpuDevice)
    return HalfRunner(GpuTarget(device.target).with_storage("fp16", "fp16"), device)


@pytest.mark.parametrize(("family", "op", "shapes"), LAYERS)
def test_every_family_is_near_the_reference(gpu: HalfRunner, family: str, op: Op, shapes: tuple[Shape, ...]) -> None:
    work = gpu.work(op, types(shapes))
    candidate, *_ = gpu.candidates(work)
    assert candidate.family == family and candidate.precision.arithmetic == "fp16"
    assert gpu.error(candidate, work) <= TOLERANCE["fp16"]


def exact(family: str, op: Op) -> bool:
    """Whether sums of small integers say, to the bit, what comes out."""
    if isinstance(op, Pool2d):
        return op.mode == "max"
    if isinstance(op, Resize):
        return op.mode == "nearest"
    activation = activation_of(op)
    return family not in INEXACT and (activation is None or activation.kind != "sigmoid")


EXACT = [layer for layer in LAYERS if exact(layer[0], layer[1])]


def plain(op: Op) -> Op:
    """The op without residual and activation."""
    changes: dict[str, Any] = {}
    if hasattr(op, "activation"):
        changes["activation"] = None
    if isinstance(op, Conv2d):
        changes["residual"] = None
    return replace(op, **changes) if changes else op  # type: ignore[type-var]


def activated(activation: Activation | None, x: Halves) -> Halves:
    """In NumPy's halves, each operation rounded."""
    half = np.float16
    if activation is None:
        return x
    match activation.kind:
        case "relu":
            return np.maximum(x, half(0))
        case "relu6":
            return np.clip(x, half(0), half(6))
        case "clip":
            return np.clip(x, half(activation.low), half(activation.high))
    gate = np.clip(x * half(activation.slope) + half(activation.offset), half(0), half(1))
    return gate if activation.kind == "hsigmoid" else x * gate


def expected(op: Op, inputs: list[Any], weights: dict[str, Any]) -> Halves:
    """Integers are summed exactly in any order; what follows is done in halves."""
    residual = op.residual if isinstance(op, Conv2d) else None
    sums = np.asarray(evaluate(plain(op), inputs[:1] if residual else inputs, weights))
    assert np.abs(sums).max() <= 2048
    x = sums.astype(np.float16)
    skip = inputs[1].astype(np.float16) if residual else None
    if residual == "before_activation":
        x = x + skip
    x = activated(activation_of(op), x)
    return x + skip if residual == "after_activation" else x


@pytest.mark.parametrize(("family", "op", "shapes"), EXACT)
def test_sums_and_activations_are_those_of_halves(
    gpu: HalfRunner, family: str, op: Op, shapes: tuple[Shape, ...]
) -> None:
    rng = np.random.default_rng(3)
    work = gpu.work(op, types(shapes))
    inputs = [rng.integers(-3, 4, shape).astype(np.float32) for shape in shapes]
    weights = {
        role: rng.integers(-2, 3, shape).astype(np.float32) for role, shape in op.weights(tuple(types(shapes))).items()
    }
    got = gpu.run(gpu.candidates(work)[0], work, inputs, weights)
    np.testing.assert_array_equal(got, expected(op, inputs, weights).astype(np.float32))


def test_most_families_are_held_to_the_bit() -> None:
    kinds = {family for family, *_ in EXACT}
    assert {family for family, *_ in LAYERS} - kinds == {*INEXACT}
    assert {type(op) for _, op, _ in EXACT} >= {Conv2d, ConvTranspose2d, Dense, ChannelAffine}


@pytest.mark.parametrize("minimalistic", [False, True])
def test_a_network_in_halves_is_near_the_reference(gpu: HalfRunner, minimalistic: bool) -> None:
    graph = mobilenet_v3("small", resolution=64, minimalistic=minimalistic)
    (kind,) = (graph.type_of(node.name) for node in graph.nodes if not node.inputs)
    x = check_input(kind.elements, seed=7).reshape(kind.shape)
    ((name, wanted),) = run(gpu.lowered(graph).graph, x).items()
    assert relative_error(gpu.run_graph(graph, x)[name].reshape(wanted.shape), wanted) <= TOLERANCE["fp16"]


def test_sums_are_halves_indeed(gpu: HalfRunner) -> None:
    """2048 + 1 is 2048 in halves: of 4096 ones the accumulator of a single chain keeps 2048."""
    op = Conv2d(4)
    work = gpu.work(op, types([(1, 1, 5, 4096)]))
    weights = {"weight": np.ones((1, 1, 4096, 4), np.float32)}
    got = gpu.run(gpu.candidates(work)[0], work, [np.ones((1, 1, 5, 4096), np.float32)], weights)
    np.testing.assert_array_equal(got, 2048.0)
