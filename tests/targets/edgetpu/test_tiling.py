"""Which tilings are tried, and that their tiles are the layer."""

from math import prod

import pytest
from tests.targets.edgetpu.random_machines import random_machine, random_network

from mnv3c.targets.edgetpu.array import Gemm, gemm_cycles, traffic
from mnv3c.targets.edgetpu.events import unrolled
from mnv3c.targets.edgetpu.layer_view import LayerView, Streams
from mnv3c.targets.edgetpu.program import program
from mnv3c.targets.edgetpu.tile_search import holds
from mnv3c.targets.edgetpu.tile_times import layer_candidates
from mnv3c.targets.edgetpu.tiling import candidates, divisors, halvings, thinned, tiling_of


def test_halvings_and_divisors() -> None:
    assert halvings(112) == [112, 56, 28, 14, 7, 4, 2, 1]
    assert halvings(100, 16) == [100, 64, 32, 16]
    assert halvings(16, 16) == [16]
    assert thinned(halvings(256)) == [256, 128, 64, 16, 4, 1]
    assert thinned([9, 5]) == [9, 5]
    assert divisors(960) == [960, 480, 240, 120, 60, 30, 15, 6, 3, 1]
    assert divisors(7) == [7, 1]


def test_tilings_are_distinct_and_reach_the_smallest() -> None:
    for seed in range(40):
        for job in random_network(seed)[0]:
            view = LayerView.of(job)
            found = candidates(view, 8)
            assert len(set(found)) == len(found), job.name
            assert found[0][:3] == (view.rows, view.columns, view.channels)
            channels = view.channels if job.op.kind == "concat" else 1
            assert (1, 1, channels) in {row[:3] for row in found}
            assert all(tiling_of(row).order == "weights_outer" for row in found if job.kind != "product")


def test_steps_are_all_tiles_of_the_layer() -> None:
    """Steps and the closed sums of the same candidate: cycles of array, vector unit, loads and stores."""
    tried = 0
    for seed in range(30):
        (jobs, _), machine = random_network(seed), random_machine(seed)
        views = [LayerView.of(job) for job in jobs]
        streams = [Streams(True, job.second is not None, bool(job.further), True, job.weight_bytes) for job in jobs]
        for choices, view, moved in zip(
            layer_candidates(machine, list(zip(views, streams, strict=True))), views, streams, strict=True
        ):
            for bound in choices.bounds.tolist()[::3]:
                candidate = choices.candidate(bound[1])
                held = holds(view.job, moved)
                runs = program(candidate, view.repeats, reads_whole=view.job.reads_whole, held=held)
                steps = list(unrolled(runs))
                work, whole = candidate.work(), tiling_of(candidate.tile)
                assert sum(step[0] + step[1] for step in steps) == work.load_cycles
                assert sum(step[2] for step in steps) == work.array_cycles
                assert sum(step[3] for step in steps) == work.post_cycles
                assert sum(step[4] for step in steps) == work.store_cycles
                rows, columns = -(-view.rows // whole.rows), -(-view.columns // whole.columns)
                tiles = view.repeats * rows * columns * -(-view.channels // whole.channels)
                assert len(steps) == tiles * (view.depth // whole.depth if view.depth else 1)
                tried += 1
    assert tried > 300


@pytest.mark.parametrize("seed", range(60))
def test_one_tile_of_a_product_takes_the_closed_form(seed: int) -> None:
    """All of a layer in one tile: the array's formulas, and each input, weight and output once over the DRAM."""
    (jobs, _), machine = random_network(seed), random_machine(seed)
    job = next((job for job in jobs if job.kind == "product" and job.groups == 1 and job.input_shape[0] == 1), None)
    if job is None:
        return
    view = LayerView.of(job)
    streams = Streams(True, False, False, True, job.weight_bytes)
    choices = layer_candidates(machine, [(view, streams)])[0]
    places = [bound[1] for bound in choices.bounds.tolist()]
    whole = (view.rows, view.columns, view.channels, view.depth, 0)
    work = next((c.work() for c in map(choices.candidate, places) if c.tile == whole), None)
    if work is not None:
        array, gemm = machine.array, Gemm(job.m, job.k, job.n)
        moved = traffic(array.dataflow, array.rows, array.cols, gemm)
        assert work.array_cycles - work.sram_wait_cycles == gemm_cycles(array.dataflow, array.rows, array.cols, gemm)
        assert work.operand_bytes == moved.ifmap_reads + moved.filter_reads
        assert work.dram_write_bytes == prod(job.output_shape)
        stored = -(-job.weight_bytes * machine.weight_permille // 1000)
        assert work.dram_read_bytes == prod(job.input_shape) + stored
