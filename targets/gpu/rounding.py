"""Weights as halves, rounded so that their sums stay.

What a layer reads has mostly one sign, or a mean that is not 0, so rounding errors of weights that do not cancel out
move the mean of a whole channel, and with it every gate computed from that. Rounded to the nearest half, a sum of n
weights is off by about sqrt(n) errors of rounding; here, by at most about one.
"""

import numpy as np

from mnv3c.targets.target import Array

_LARGEST = float(np.finfo(np.float16).max)


def balanced_halves(weight: Array) -> Array:
    """Weights (..., output channels) whose values are halves, each next to the given one; the type stays float32.

    Per output channel, values are moved from the nearest half to the one on their other side, those first that lie
    nearest to the middle, while that brings the sum closer to that of the given weights. It needs no data.
    """
    flat = np.clip(weight.reshape(-1, weight.shape[-1]), -_LARGEST, _LARGEST).astype(np.float64)
    nearest = flat.astype(np.float16)
    errors = nearest - flat
    total = errors.sum(axis=0)
    other = np.nextafter(nearest, np.where(errors == 0, nearest, np.copysign(np.inf, -errors)).astype(np.float16))
    # Where the error has the sign of the sum's, the step to the other side takes the sum back.
    steps = np.where(errors * total > 0, other.astype(np.float64) - nearest, 0.0)
    # What a step adds to the squared errors, for what it takes off the sum.
    costs = np.full_like(steps, np.inf)
    np.divide(steps * (steps + 2 * errors), np.abs(steps), out=costs, where=steps != 0)
    order = np.argsort(costs, axis=0, kind="stable")
    sums = total + np.cumsum(np.take_along_axis(steps, order, axis=0), axis=0)
    best = np.argmin(np.abs(np.vstack([total, sums])), axis=0)
    moved = np.zeros(flat.shape, bool)
    np.put_along_axis(moved, order, np.arange(len(flat))[:, None] < best, axis=0)
    return np.where(moved & (steps != 0), other, nearest).astype(np.float32).reshape(weight.shape)
