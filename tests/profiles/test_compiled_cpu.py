"""The physics of our own kernels: it has to cut layers as the compiler does, and count what they cost."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from mnv3c.compiler.lower import KernelCall, LoweredNetwork, lower
from mnv3c.graph.layer import layer_key
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.profiles.layer_table import LayerTable
from mnv3c.profiles.physics.compiled_cpu import CompiledCpuPhysics
from mnv3c.profiles.physics.compiled_kernels import CpuSizes, Kernels
from mnv3c.targets.cpu.gated import GatedGemm
from mnv3c.targets.cpu.gemm import Gemm
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device
from mnv3c.targets.x86_64.tile_gemm import TileGemm

NETWORKS = (("large", 1.0, 224), ("small", 1.0, 224), ("large", 0.35, 96), ("small", 1.25, 288), ("large", 0.75, 160))


@cache
def lowered(variant: str, width: float, resolution: int) -> LoweredNetwork:
    """A network for Sapphire Rapids by first guesses."""
    device = find_device("sapphire-rapids")
    large = variant == "large"
    graph = mobilenet_v3("large" if large else "small", width=width, resolution=resolution, seed=None)
    return lower(run_passes(graph, default_passes()), load_target(device.target), device)


def calls(variant: str, width: float, resolution: int) -> tuple[KernelCall, ...]:
    """The kernels that compute layers."""
    return tuple(call for call in lowered(variant, width, resolution).calls if call.nodes)


@cache
def table_of(variant: str, width: float, resolution: int) -> LayerTable:
    """The network's kernels as units."""
    network = lowered(variant, width, resolution)
    groups = [
        tuple(layer_key(network.graph, node) for node in call.nodes) for call in calls(variant, width, resolution)
    ]
    table = LayerTable.of_items(groups)
    first, last = np.zeros(len(table), np.int64), np.zeros(len(table), np.int64)
    first[table.starts], last[table.ends] = 1, 1
    return replace(table, input_on_chip=1 - first, output_on_chip=1 - last)


def sizes() -> CpuSizes:
    """Those of the device's file."""
    device = find_device("sapphire-rapids")
    vector, cache = device.vector, device.cache
    return CpuSizes(
        lanes=vector.bits // 32,
        registers=vector.registers,
        fma_pipes=vector.fma_pipes,
        fma_latency_cycles=vector.fma_latency_cycles,
        tile_bf16_macs=vector.tile_bf16_macs or 0,
        l1d_bytes=cache.l1d_bytes,
        l2_bytes=cache.l2_bytes,
        sharing_cores=min(device.cores, 4),
        threads=1,
    )


@pytest.mark.parametrize(("variant", "width", "resolution"), NETWORKS)
def test_products_are_cut_as_the_compiler_cuts_them(variant: str, width: float, resolution: int) -> None:
    table = table_of(variant, width, resolution)
    kernels = Kernels(table, sizes())
    seen = 0
    for call, layer in zip(calls(variant, width, resolution), table.ends, strict=True):
        candidate = call.candidate.project if isinstance(call.candidate, GatedGemm) else call.candidate
        if not isinstance(candidate, Gemm | TileGemm) or not kernels.pointwise[layer]:
            continue
        seen += 1
        assert kernels.on_tiles[layer] == isinstance(candidate, TileGemm), call.layer
        if isinstance(candidate, Gemm):
            runs = sum(run.count for run in candidate.lanes.blocks(candidate.columns, candidate.tile_vectors))
            tiles = -(-candidate.rows // candidate.tile_rows) * runs
            assert kernels.vector.tiles[layer] == tiles, call.layer
        else:
            assert kernels.steps[layer] == candidate.shape.steps
            assert kernels.row_blocks[layer] == candidate.shape.blocks
    assert seen > 10


@pytest.mark.parametrize(("variant", "width", "resolution"), NETWORKS)
def test_every_kernel_costs_something(variant: str, width: float, resolution: int) -> None:
    table, physics = table_of(variant, width, resolution), CompiledCpuPhysics()
    terms = physics.terms(table)
    assert terms.shape == (len(table), len(physics.term_names)) and np.isfinite(terms).all() and (terms >= 0).all()
    assert (table.per_unit_sum(terms.sum(1)) > 0).all()
    assert (physics.family(table) >= 0).all() and np.isfinite(physics.descriptors(table)).all()


def test_weights_that_were_asked_for_cost_less() -> None:
    table, physics = table_of("large", 1.0, 224), CompiledCpuPhysics()
    layers = np.flatnonzero(table.is_kind("linear"))
    there = replace(table, ahead_bytes=np.full(len(table), 1 << 30))
    assert (physics.terms(there).sum(1)[layers] < physics.terms(table).sum(1)[layers]).all()


def test_two_threads_share_large_kernels_only() -> None:
    table = table_of("large", 1.0, 224)
    one, two = (Kernels(table, replace(sizes(), threads=threads)) for threads in (1, 2))
    assert not one.shared.any() and (one.share == 1).all()
    macs = table.macs
    alone = (table.input_on_chip == 0) & (table.output_on_chip == 0)
    products = alone & table.is_kind("pointwise", "linear")
    assert (two.shared[products] == (macs[products] >= 1 << 17)).all()
    assert (two.share[two.shared] >= 0.5).all() and two.share[two.shared].mean() < 0.6
