"""The closed forms against an array that is stepped PE by PE."""

import random
from typing import get_args

import numpy as np
import pytest
from tests.targets.edgetpu.pe_stepping import Stepped, step

from mnv3c.targets.edgetpu.array import (
    Dataflow,
    Gemm,
    Traffic,
    fold_cycles,
    folds,
    gemm_cycles,
    traffic,
    utilization,
)

DATAFLOWS: tuple[Dataflow, ...] = get_args(Dataflow)
AWKWARD = (1, 7, 31, 33)


def check(dataflow: Dataflow, rows: int, cols: int, gemm: Gemm, generator: np.random.Generator) -> Stepped:
    """Step one product of int8 matrices and hold everything against the closed forms."""
    ifmap = generator.integers(-128, 128, (gemm.m, gemm.k))
    weights = generator.integers(-128, 128, (gemm.k, gemm.n))
    stepped = step(dataflow, rows, cols, ifmap, weights)
    case = f"{dataflow} {rows}x{cols} {gemm}"
    np.testing.assert_array_equal(stepped.product, ifmap @ weights, err_msg=case)
    assert stepped.cycles == gemm_cycles(dataflow, rows, cols, gemm), case
    counted = Traffic(stepped.ifmap_reads, stepped.filter_reads, stepped.psum_reads, stepped.psum_writes)
    assert counted == traffic(dataflow, rows, cols, gemm), case
    return stepped


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_thousand_random_products_take_the_cycles_of_the_closed_form(dataflow: Dataflow) -> None:
    draw, generator = random.Random(5), np.random.default_rng(5)
    for _ in range(1000):
        rows, cols = (draw.randint(1, 8) for _ in "rc")
        m, k, n = (draw.choice((*AWKWARD, draw.randint(1, 24))) for _ in "mkn")
        check(dataflow, rows, cols, Gemm(m, k, n), generator)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("rows", AWKWARD)
@pytest.mark.parametrize("cols", AWKWARD)
def test_awkward_arrays(dataflow: Dataflow, rows: int, cols: int) -> None:
    generator = np.random.default_rng(rows * 100 + cols)
    for m, k, n in ((1, 33, 31), (33, 1, 7), (31, 33, 1), (7, 31, 33), (1, 1, 1)):
        check(dataflow, rows, cols, Gemm(m, k, n), generator)


def test_one_fold_by_hand() -> None:
    """A 2x2 array, (3, 2) times (2, 2): WS loads 2 rows, feeds 3, and the last meets the far corner 2 cycles later."""
    gemm = Gemm(m=3, k=2, n=2)
    assert fold_cycles("ws", 2, 2, gemm) == 2 + 3 + 2
    assert fold_cycles("os", 2, 2, gemm) == 2 + 2
    assert [folds(dataflow, 2, 2, gemm) for dataflow in DATAFLOWS] == [2, 1, 2]
    assert utilization("ws", 2, 2, gemm) == 12 / (7 * 4)


def test_a_bigger_array_never_needs_more_folds_nor_reads() -> None:
    gemm = Gemm(m=49, k=960, n=160)
    for dataflow in DATAFLOWS:
        counts = [folds(dataflow, size, size, gemm) for size in range(1, 65)]
        reads = [traffic(dataflow, size, size, gemm) for size in range(1, 65)]
        assert counts == sorted(counts, reverse=True)
        assert [t.ifmap_reads + t.filter_reads for t in reads] == sorted(
            (t.ifmap_reads + t.filter_reads for t in reads), reverse=True
        )
        assert all(0 < utilization(dataflow, size, size, gemm) <= 1 for size in range(1, 65))
