"""Weights in half precision: kernels against NumPy, whole programs, their machine code, and devices that cannot."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.compiler.kernel_runner import KernelRunner, host_variant, relative_error
from tests.compiler.test_networks import network_input
from tests.graph.samples import chain

from mnv3c.compiler.build import KernelJob, build_kernels, compile_prim_funcs
from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.execute import Artifact, Place
from mnv3c.compiler.lower import LoweredNetwork, lower
from mnv3c.compiler.machine_code import LlvmTools
from mnv3c.compiler.pipeline import Artifact as Compiled
from mnv3c.compiler.pipeline import Compiler
from mnv3c.compiler.reference import reference_outputs
from mnv3c.compiler.transport.emulator import find_emulator
from mnv3c.compiler.transport.host import run_bench
from mnv3c.graph.activation import HSWISH, RELU
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import Conv2d, Dense, Flatten, Op
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.passes.round_weights import RoundWeights
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device
from mnv3c.targets.target import WeightPrecision

TOLERANCE = 1e-5
NETWORK_TOLERANCE = 1e-4
SIZES = (1, 7, 31, 33, 72, 960, 1280)
VECTORS = ((512, 32), (256, 16), (128, 32))
# Conversion of a vector of halves, and a fused multiply-add of a vector of floats.
INSTRUCTIONS = {
    "haswell": (r"vcvtph2ps .*%[xy]mm\d+$", r"vfn?m(add|sub)\d+ps "),
    "skylake-avx512": (r"vcvtph2ps .*%[xyz]mm\d+$", r"vfn?m(add|sub)\d+ps "),
    "cortex-a53": (r"fcvtl2?\s+v\d+\.4s, v\d+\.[48]h", r"fmla\s+v\d+\.4s"),
    "cortex-a76": (r"fcvtl2?\s+v\d+\.4s, v\d+\.[48]h", r"fmla\s+v\d+\.4s"),
}


@pytest.fixture(scope="module", params=VECTORS, ids=lambda shape: f"{shape[0]}bit")
def runner(request: pytest.FixtureRequest) -> KernelRunner:
    return KernelRunner(host_variant(*request.param))


@pytest.fixture(scope="module")
def small() -> Graph:
    return mobilenet_v3("small", resolution=96)


@pytest.fixture(scope="module")
def half(small: Graph, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The network for this machine, its weights in half precision."""
    return compiled(small, tmp_path_factory.mktemp("half"))


def place_of(device_name: str) -> Place:
    """The host, or the emulator of a device; skips the test without one, and fails on CI."""
    if device_name == "host":
        return "host"
    try:
        find_emulator("aarch64")
    except MissingError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))
    return "emulator"


def compiled(graph: Graph, directory: Path, device_name: str = "host", weights: WeightPrecision = "fp16") -> Compiled:
    device = find_device(device_name)
    return Compiler(load_target(device.target), device, weights=weights).compile(graph, directory)


def lowered(graph: Graph, device_name: str, weights: WeightPrecision = "fp16") -> LoweredNetwork:
    device = find_device(device_name)
    passes = (*default_passes(), RoundWeights())
    return lower(run_passes(graph, passes), load_target(device.target), device, weights=weights)


def rounded_outputs(graph: Graph, x: np.ndarray) -> tuple[np.ndarray, ...]:  # type: ignore[type-arg]
    return reference_outputs(run_passes(graph, (*default_passes(), RoundWeights())), x.ravel())


@pytest.mark.parametrize("depth", SIZES)
def test_a_product_of_one_row(runner: KernelRunner, depth: int) -> None:
    for columns in SIZES:
        layers: Mapping[TensorType, Op] = {
            TensorType((1, depth)): Dense(columns, bias=depth % 2 == 0, activation=RELU),
            TensorType((1, 1, 1, depth)): Conv2d(columns, bias=True, activation=HSWISH),
        }
        # Either kind of layer is the same kernel: each takes half of the sizes.
        x, op = list(layers.items())[(SIZES.index(depth) + SIZES.index(columns)) % 2]
        work = runner.work(op, [x], weights="fp16")
        candidate = runner.candidates(work)[0]
        assert candidate.family == "gemm_fp16"
        # The sums of a few products may cancel.
        assert runner.error(candidate, work, floor=0.1) <= TOLERANCE, (depth, columns)


@pytest.mark.parametrize(("depth", "columns"), [(72, 24), (960, 31)])
def test_every_candidate_of_a_product(runner: KernelRunner, depth: int, columns: int) -> None:
    op = Conv2d(columns, bias=True, residual="before_activation")
    x, residual = TensorType((1, 1, 1, depth)), TensorType((1, 1, 1, columns))
    work = runner.work(op, [x, residual], weights="fp16")
    for candidate in runner.candidates(work):
        assert runner.error(candidate, work) <= TOLERANCE, candidate


def test_the_weight_alone_is_half_as_large(runner: KernelRunner) -> None:
    work = runner.work(Dense(24, bias=True), [TensorType((1, 40))])
    weights = {"weight": np.ones((40, 24), np.float32), "bias": np.ones(24, np.float32)}
    full, half = (runner.candidates(replace(work, weights=precision))[0] for precision in ("fp32", "fp16"))
    assert [array.dtype for array in full.pack(weights)] == [np.float32, np.float32]
    assert [array.dtype for array in half.pack(weights)] == [np.float16, np.float32]
    assert [array.size for array in full.pack(weights)] == [array.size for array in half.pack(weights)]
    assert full != half and full.parameters == half.parameters
    target = runner.target.llvm_target(runner.device)
    jobs = [KernelJob.of(candidate, target) for candidate in (full, half)]
    assert jobs[0].key != jobs[1].key and jobs[0].symbol != jobs[1].symbol


@pytest.mark.parametrize("device_name", ["host", "cortex-a53", "cortex-a76"])
def test_subnormal_halves_are_exact_although_floats_are_flushed(device_name: str, tmp_path: Path) -> None:
    place = place_of(device_name)
    steps = np.arange(-1020, 1020, 51)
    graph = chain((1, 4), ("fc", Dense(len(steps))))
    weight = np.outer([1.0, 0.0, 2.0**-8, 1.0], steps * 2.0**-24).astype(np.float32)
    weight[2] = 2.0**-24
    graph = replace(graph, weights={"fc.weight": weight})
    artifact = Artifact.open(compiled(graph, tmp_path / "out", device_name).directory)
    x = np.array([[1.0, 1.0, 2.0**20, 1.0]], np.float32)
    (got,) = artifact.execute(x, place).outputs
    np.testing.assert_array_equal(got, x.astype(np.float64) @ weight.astype(np.float64))
    # Sums that are subnormal floats are zero: the mode is on.
    (flushed,) = artifact.execute(np.full((1, 4), 2.0**-120, np.float32), place).outputs
    assert not flushed.any()


def test_a_network(small: Graph, half: Compiled) -> None:
    artifact = Artifact.open(half.directory)
    x = network_input(small)
    (expected,) = rounded_outputs(small, x)
    for threads in (1, 2):
        assert relative_error(artifact.execute(x, "host", threads).outputs[0], expected) <= NETWORK_TOLERANCE
    assert run_bench(artifact.bench, ["--check"]).returncode == 0


def test_an_emulated_network(small: Graph, tmp_path: Path) -> None:
    place = place_of("cortex-a53")
    artifact = Artifact.open(compiled(small, tmp_path / "out", "cortex-a53").directory)
    x = network_input(small)
    got, (expected,) = artifact.execute(x, place, threads=2).outputs[0], rounded_outputs(small, x)
    assert relative_error(got, expected) <= NETWORK_TOLERANCE


def test_the_error_is_that_of_the_rounded_weights(small: Graph, half: Compiled, tmp_path: Path) -> None:
    full = compiled(small, tmp_path / "out", weights="fp32")
    documents = [Artifact.open(each.directory).manifest for each in (full, half)]
    assert [each.weights_precision for each in documents] == ["fp32", "fp16"]
    assert full.weights_error is None and documents[0].weights_error is None
    assert "weights_precision" not in full.manifest.read_text() and "weights_error" not in full.manifest.read_text()
    outputs = [Artifact.open(each.directory).execute(None, "host").outputs[0] for each in (full, half)]
    assert half.weights_error is not None
    assert documents[1].weights_error == half.weights_error
    assert relative_error(outputs[1], outputs[0]) == pytest.approx(half.weights_error, abs=1e-5)
    assert 1e-5 < half.weights_error < 2e-3
    # Two of four bytes of every weight of these layers, but for what pads the parts to 64 bytes.
    ones = [node for node in half.network.graph.nodes if node.name in set(half_layers(half.network))]
    saved = sum(2 * half.network.graph.weights[node.weight_name("weight")].size for node in ones)
    assert abs(full.program.weights_bytes - half.program.weights_bytes - saved) <= 64 * len(ones)
    assert full.memory.peak_bytes == half.memory.peak_bytes


def half_layers(network: LoweredNetwork) -> list[str]:
    return [call.layer for call in network.calls if call.candidate.family == "gemm_fp16"]


def test_only_products_of_one_row_change(small: Graph) -> None:
    plain, halved = lowered(small, "cortex-a76", "fp32"), lowered(small, "cortex-a76")
    names = half_layers(halved)
    assert half_layers(plain) == [] and len(names) == 20 and names[-1] == "classifier"
    for before, after in zip(plain.calls, halved.calls, strict=True):
        if after.layer in names:
            assert after.kind == f"{before.kind}+fp16"
            channels = before.inputs[0].type.channels
            assert before.bytes_in - after.bytes_in == 2 * channels * before.output.type.channels
        else:
            assert after == before


def test_a_caller_that_is_read_by_a_product_of_one_row() -> None:
    graph = chain((1, 1, 1, 33), ("first", Conv2d(40, activation=RELU)), ("flat", Flatten()), ("fc", Dense(7)))
    network = lowered(graph, "host")
    assert half_layers(network) == ["first", "fc"]


def test_a_network_of_one_row_is_not_fused(tmp_path: Path) -> None:
    # At 32x32 the last blocks have maps of one position, which a kernel of several layers could take.
    graph = mobilenet_v3("small", resolution=32, classes=5)
    artifact = Artifact.open(compiled(graph, tmp_path / "out").directory)
    x = network_input(graph)
    assert relative_error(artifact.execute(x, "host").outputs[0], rounded_outputs(graph, x)[0]) <= NETWORK_TOLERANCE


def test_a_weight_that_does_not_fit(tmp_path: Path) -> None:
    graph = chain((1, 4), ("fc", Dense(3)))
    weight = np.ones((4, 3), np.float32)
    weight[2, 1] = -70000.0
    graph = replace(graph, weights={"fc.weight": weight})
    with pytest.raises(UserError, match=re.escape("node 'fc': weight -70000 does not fit fp16, which ends at 65504")):
        compiled(graph, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    compiled(graph, tmp_path / "out", weights="fp32")


def test_outputs_that_are_not_finite_have_no_error(tmp_path: Path) -> None:
    graph = chain((1, 4), ("a", Dense(3, bias=True)), ("b", Dense(3)))
    large = {"a.bias": np.full(3, 3e38, np.float32), "b.weight": np.full((3, 3), 6e4, np.float32)}
    graph = replace(graph, weights={**graph.weights, **large})
    with np.errstate(over="ignore"), pytest.raises(UserError, match="its outputs are not finite"):
        compiled(graph, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("device_name", "cpu", "features", "allowed"),
    [
        ("haswell", "haswell", (), True),
        ("haswell", "x86-64", (), False),
        ("haswell", "x86-64", ("+f16c",), True),
        ("haswell", "haswell", ("-f16c",), False),
        ("skylake-avx512", "skylake-avx512", (), True),
        ("cortex-a53", "cortex-a53", (), True),
        ("sifive-u74", "sifive-u74", (), False),
        ("sifive-u74", "sifive-u74", ("+v", "+zvfhmin"), True),
        ("spacemit-x60", "spacemit-x60", (), True),
    ],
)
def test_devices_that_convert_halves(
    device_name: str, cpu: str, features: tuple[str, ...], allowed: bool, tmp_path: Path
) -> None:
    device = find_device(device_name)
    device = device.model_copy(update={"llvm": device.llvm.model_copy(update={"cpu": cpu, "features": features})})
    target = load_target(device.target)
    if allowed:
        target.require_half_weights(device)
        return
    graph = chain((1, 4), ("fc", Dense(3)))
    with pytest.raises(UserError, match=f"device '{device_name}' cannot convert fp16 weights: .*; fp32 is allowed"):
        Compiler(target, device, weights="fp16").compile(graph, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("device_name", INSTRUCTIONS)
def test_loops_convert_vectors_and_call_nothing(tools: LlvmTools, small: Graph, device_name: str) -> None:
    conversion, product = (re.compile(pattern) for pattern in INSTRUCTIONS[device_name])
    network, device = lowered(small, device_name), find_device(device_name)
    llvm = load_target(device.target).llvm_target(device)
    # LLVM unrolls shorter loops away.
    deep = [call for call in network.calls if call.inputs[0].type.channels >= 64]
    calls = {call.layer: call for call in deep if call.candidate.family == "gemm_fp16"}
    assert len(calls) > 10
    objects = build_kernels([KernelJob.of(call.candidate, llvm) for call in calls.values()], FileCache.default())
    for layer, call in calls.items():
        path = objects[KernelJob.of(call.candidate, llvm)]
        found = 0
        for loop in tools.inner_loops(path):
            products = sum(product.match(instruction.text) is not None for instruction in loop)
            conversions = sum(conversion.match(instruction.text) is not None for instruction in loop)
            # One row: each weight vector is converted for one product.
            assert conversions == products, (layer, [instruction.text for instruction in loop])
            found += products
        assert found > 0, layer
        # TVM puts conversions of its own into every object, in a section that nothing shall refer to.
        command = (tools.folder / "llvm-objdump", "-d", "-r", "--section=.text", path)
        code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert call.candidate.family in code
        assert re.search("extendhf|truncsfhf|h2f|f2h", code) is None, layer


def test_riscv_converts_vectors_as_well(small: Graph) -> None:
    device = find_device("spacemit-x60")
    kernel = lowered(small, device.name).calls[-1].candidate.build("kernel")
    target = load_target(device.target).llvm_target(device)
    assembly = compile_prim_funcs({"kernel": kernel}, target).inspect_source("asm")
    assert assembly.count("vfwcvt.f.f.v") == assembly.count("vfmacc.vf") > 0
    assert re.search("(call|tail)\\s.*(extendhf|h2f)", assembly) is None
