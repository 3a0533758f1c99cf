"""Products on AMX tiles: split exactly, as accurate as float32, chosen where they are faster."""

import ctypes
import platform
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.compiler.kernel_runner import KernelRunner, relative_error, run_graph
from tests.graph.samples import random_input, with_weights

from mnv3c.compiler.build import compile_prim_funcs
from mnv3c.compiler.lower import lower
from mnv3c.graph import reference
from mnv3c.graph.activation import HSIGMOID, HSWISH
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import Conv2d, GlobalAveragePool, Input, Multiply
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.cpu.epilogue import Epilogue
from mnv3c.targets.cpu.lanes import device_lanes
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import detect_host, find_device
from mnv3c.targets.x86_64.tile_gemm import TileGemm, split

# Largest error over largest value; AVX-512's own products have 1e-7 to 3e-7 on these.
TOLERANCE = 1e-6
_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 158, 0x1023, 18


@pytest.fixture(scope="module")
def host() -> CpuDevice:
    """This machine, with its tiles asked for."""
    device = detect_host() if platform.machine() == "x86_64" else None
    if device is None or device.vector.tile_bf16_macs is None:
        pytest.skip("this machine has no AMX tiles")
    assert ctypes.CDLL(None).syscall(_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA) == 0
    return device


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.floats(width=32, min_value=-(2.0**127), max_value=2.0**127).filter(lambda x: x == 0 or abs(x) > 2.0**-100))
def test_a_float32_is_the_sum_of_three_bfloat16(value: float) -> None:
    parts = [np.array([part], np.uint32) << 16 for part in (int(p[0]) for p in split(np.array([value], np.float32)))]
    assert sum(float(part.view(np.float32)[0]) for part in parts) == value


@pytest.mark.parametrize("behind_lines", [0, 5])
@pytest.mark.parametrize(
    ("share_columns", "chunk"), [(True, 1), (True, 2), (True, 99), (False, 1), (False, 2), (False, 99)]
)
@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [
        (33, 33, 32),
        (49, 160, 96),
        (64, 31, 33),
        (47, 65, 47),
        (100, 72, 40),
        (16, 7, 63),
        (80, 200, 112),
        (31, 64, 1000),
    ],
)
def test_products(
    host: CpuDevice, rows: int, depth: int, columns: int, share_columns: bool, chunk: int, behind_lines: int
) -> None:
    runner = KernelRunner(host)
    work = runner.work(Conv2d(columns, bias=True, activation=HSWISH), [TensorType((1, 1, rows, depth))])
    product = TileGemm(rows, depth, columns, device_lanes(host), Epilogue(HSWISH), chunk, share_columns)
    assert runner.error(replace(product, behind_lines=behind_lines), work) <= TOLERANCE


def squeeze_excite(residual: bool) -> Graph:
    nodes = [
        Node("x", Input((1, 9, 9, 72))),
        Node("wide", Conv2d(200, bias=True, activation=HSWISH), ("x",)),
        Node("skip", Conv2d(80, bias=True), ("x",)),
        Node("pool", GlobalAveragePool(), ("wide",)),
        Node("gate", Conv2d(200, bias=True, activation=HSIGMOID), ("pool",)),
        Node("scaled", Multiply(), ("wide", "gate")),
    ]
    project = Conv2d(80, bias=True, residual="before_activation" if residual else None)
    nodes.append(Node("project", project, ("scaled", "skip") if residual else ("scaled",)))
    return with_weights(Graph("gated", tuple(nodes), ("project",) if residual else ("project", "skip")))


@pytest.mark.parametrize("residual", [False, True])
def test_a_gate_scales_the_rows_as_they_are_split(host: CpuDevice, residual: bool) -> None:
    graph = squeeze_excite(residual)
    network = lower(run_passes(graph, default_passes()), load_target("x86_64"), host)
    tiled = [call for call in network.calls if isinstance(call.candidate, TileGemm)]
    assert [node.name for node in tiled[-1].nodes] == ["scaled", "project"] and network.calls[-1] == tiled[-1]
    x = random_input(graph)
    got, expected = run_graph(graph, host, x), reference.run(graph, x)
    for name in expected:
        assert relative_error(got[name], expected[name], floor=1.0) <= TOLERANCE


def test_who_multiplies_on_tiles() -> None:
    graph = run_passes(mobilenet_v3("large", seed=None), default_passes())
    tiled = {}
    for name in ("sapphire-rapids", "skylake-avx512"):
        network = lower(graph, load_target("x86_64"), find_device(name))
        tiled[name] = {call.layer for call in network.calls if call.candidate.tiles}
    assert not tiled["skylake-avx512"]
    assert {"block12.expand", "block12.se.scale+block12.project", "last"} <= tiled["sapphire-rapids"]
    assert not {"block2.expand", "head", "classifier"} & tiled["sapphire-rapids"]


def test_the_machine_code_uses_tiles_and_gives_them_back() -> None:
    device = find_device("sapphire-rapids")
    product = TileGemm(49, 160, 96, device_lanes(device), Epilogue(HSWISH), 2, False)
    module = compile_prim_funcs({"kernel": product.build("kernel")}, load_target("x86_64").llvm_target(device))
    assembly = module.inspect_source("asm")
    assert assembly.count("tdpbf16ps") % 24 == 0 and assembly.count("tdpbf16ps") >= 48
    assert assembly.count("ldtilecfg") == assembly.count("tilerelease") > 0
    assert "AllocWorkspace@" not in assembly.split(".bss")[0]
