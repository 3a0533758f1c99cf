"""Positions of a resize, against exact fractions, for every pair of small extents."""

from fractions import Fraction
from math import ceil, floor
from typing import get_args

import pytest

from mnv3c.graph.ops import Resize, ResizeCoordinates
from mnv3c.targets.cpu.reshape import resize_table

SIZES = range(1, 41)
OUT_SIZES = range(1, 81)


def position(rule: str, out: int, size: int, out_size: int) -> Fraction:
    match rule:
        case "asymmetric":
            return Fraction(out * size, out_size)
        case "align_corners":
            return Fraction(out * (size - 1), out_size - 1) if out_size > 1 else Fraction(0)
        case "pytorch_half_pixel" if out_size == 1:
            return Fraction(0)
        case _:
            return (out + Fraction(1, 2)) * Fraction(size, out_size) - Fraction(1, 2)


def nearest(rule: str, at: Fraction, size: int) -> int:
    index = floor(at) if rule == "asymmetric" else ceil(at - Fraction(1, 2))
    return min(max(index, 0), size - 1)


@pytest.mark.parametrize("rule", get_args(ResizeCoordinates))
def test_nearest_takes_the_exact_position(rule: ResizeCoordinates) -> None:
    for size in SIZES:
        for out_size in OUT_SIZES:
            table = resize_table(Resize((out_size, 1), "nearest", rule), size, out_size).reshape(out_size, 3)
            expected = [nearest(rule, position(rule, out, size, out_size), size) for out in range(out_size)]
            assert table[:, 0].astype(int).tolist() == expected, (size, out_size)


@pytest.mark.parametrize("rule", get_args(ResizeCoordinates))
def test_bilinear_stays_inside_and_adds_up(rule: ResizeCoordinates) -> None:
    for size, out_size in ((1, 7), (5, 11), (7, 3), (31, 33)):
        table = resize_table(Resize((out_size, 1), "bilinear", rule), size, out_size).reshape(out_size, 3)
        for out, (first, second, fraction) in enumerate(table.tolist()):
            at = min(max(position(rule, out, size, out_size), Fraction(0)), Fraction(size - 1))
            assert 0 <= first <= second <= size - 1
            assert first + fraction == pytest.approx(float(at), abs=1e-5)
