"""Rates of a GPU from its profile: six coefficients that explain what it predicts for TFLite's kernels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mnv3c.graph.layer import LayerKey
from mnv3c.graph.ops import Concat, Dense, GlobalAveragePool, Pool2d
from mnv3c.graph.tensor import TensorType
from mnv3c.profiles.gpu_kernels.predict import copy_ms
from mnv3c.profiles.gpu_kernels.rates import Coefficients, FittedGpu, mean_coefficients
from mnv3c.profiles.gpu_kernels.terms import TERMS, terms_ms
from mnv3c.profiles.gpu_kernels.tflite import tflite_launches
from mnv3c.profiles.layer_keys import convolution_key
from mnv3c.profiles.model.dataset import network_table
from mnv3c.profiles.model.intervals import ALL, conformal
from mnv3c.profiles.physics.base import Floats
from mnv3c.profiles.predict import predict_units
from mnv3c.profiles.profile import Profile
from mnv3c.targets.gpu.device import GpuDevice

# No kernel computes faster than the data sheet. Memory may: what fits into caches need not move.
_LEAST = {"alu": 1.0}
_LEAST_OTHERS, _MOST = 0.1, 100.0
_STARTS = (1.0, 4.0)
# For conformal intervals of few rows; here there are hundreds.
_USUAL_ERROR = 0.3
_DIGITS = 6
# Input and output of the networks whose times the profiles' overheads were fitted to.
_PROFILED_BYTES = 4 * (224 * 224 * 3 + 1000)

_SIDES = (7, 14, 28, 56, 112)
_CHANNELS = (16, 24, 40, 64, 112, 160, 320, 672, 960)
_MOST_ELEMENTS, _MOST_PRODUCTS = 56 * 56 * 300, 112 * 112 * 64 * 64


@dataclass(frozen=True)
class Sample:
    """Kernels of one GPU: (rows, terms) nominal and (rows,) predicted milliseconds, and their families."""

    terms_ms: Floats
    latency_ms: Floats
    families: tuple[str, ...]

    def take(self, chosen: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> "Sample":
        """Some rows."""
        names = tuple(name for name, wanted in zip(self.families, chosen, strict=True) if wanted)
        return Sample(self.terms_ms[chosen], self.latency_ms[chosen], names)

    def log_errors(self, coefficients: Floats) -> Floats:
        """(rows,) log(predicted by the profile / by these coefficients)."""
        return np.asarray(np.log(self.latency_ms / (self.terms_ms @ coefficients)), np.float64)


def sample(profile: Profile, device: GpuDevice, flat: bool) -> Sample:
    """What the profile of a device says of layers such as mobile networks have; `flat` as in `tflite_launches`."""
    table = network_table(sample_layers(), "layer")
    units = predict_units(profile, table)
    return Sample(terms_ms(tflite_launches(table, flat), device, "fp16"), units.latency_ms, units.families)


def sample_layers() -> tuple[LayerKey, ...]:
    """Sides, channels and windows of mobile networks, in all combinations that are no larger than theirs."""
    return (*_pointwise(), *_depthwise(), *_convolutions(), *_others())


def _pointwise() -> Iterator[LayerKey]:
    for side in _SIDES:
        for c_in in _CHANNELS:
            for c_out in _CHANNELS:
                products, elements = side**2 * c_in * c_out, side**2 * max(c_in, c_out)
                if products <= _MOST_PRODUCTS and elements <= _MOST_ELEMENTS:
                    yield convolution_key(side, c_in, c_out)


def _depthwise() -> Iterator[LayerKey]:
    for side in _SIDES:
        for channels in _CHANNELS:
            if side**2 * channels <= _MOST_ELEMENTS:
                for kernel in (3, 5, 7):
                    for stride in (1, 2):
                        yield convolution_key(side, channels, channels, kernel=kernel, stride=stride, groups=channels)


def _convolutions() -> Iterator[LayerKey]:
    for side in (112, 160, 224):
        for c_out in (8, 16, 24, 32):
            yield convolution_key(side, 3, c_out, kernel=3, stride=2)
    for side in _SIDES[:-1]:
        for c_in in (16, 32, 64, 128):
            for c_out in (16, 32, 64, 128):
                for stride in (1, 2):
                    if side**2 * c_in * c_out <= _MOST_PRODUCTS // 4:
                        yield convolution_key(side, c_in, c_out, kernel=3, stride=stride)


def _others() -> Iterator[LayerKey]:
    for channels in (64, 128, 240, 576, 960, 1280):
        for outputs in (16, 64, 240, 1000):
            yield LayerKey(Dense(outputs, bias=True), (TensorType((1, channels)),))
    for side in _SIDES[:-1]:
        for channels in (24, 72, 120, 480, 672, 960):
            x = TensorType((1, side, side, channels))
            yield LayerKey(GlobalAveragePool(), (x,))
            yield LayerKey(Pool2d("max", (3, 3), (2, 2), (1, 1, 1, 1)), (x,))
            yield LayerKey(Concat(), (x, x))


def fit_gpu(profile: Profile, device: GpuDevice, rows: Sample) -> FittedGpu:
    """Fit the rates of the device that a profile is of to a sample of what it predicts.

    Raises pydantic's ValidationError (a ValueError) where the profile's networks take less once than their copies.
    """
    coefficients = fit_coefficients(rows)
    overhead = profile.overhead
    copied_ms = copy_ms(_PROFILED_BYTES, device, float(coefficients[TERMS.index("memory")]))
    return FittedGpu(
        device=device.name,
        target=device.target,
        profile=profile.name,
        coefficients=Coefficients(**dict(zip(TERMS, map(_rounded, coefficients), strict=True))),
        log_ratios=_ends(held_out_errors(rows), profile.intervals.of(ALL)),
        network_ms=round(overhead.network_ms - copied_ms, _DIGITS),
        launch_ms=round(overhead.unit_ms, _DIGITS),
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def fit_coefficients(rows: Sample) -> Floats:
    """(terms,) by least squares of logarithms; a family weighs as much as the root of the number of its rows."""
    from scipy.optimize import least_squares

    names = np.array(rows.families)
    weights = np.array([np.count_nonzero(names == name) ** -0.25 for name in names])
    low = np.log([_LEAST.get(name, _LEAST_OTHERS) for name in TERMS])
    found = [
        least_squares(
            lambda logs: weights * rows.log_errors(np.exp(logs)),
            np.maximum(np.log(start), low + 1e-3),
            bounds=(low, np.log(_MOST)),
        )
        for start in _STARTS
    ]
    return np.asarray(np.exp(min(found, key=lambda each: float(each.cost)).x), np.float64)


def held_out_errors(rows: Sample) -> Floats:
    """(rows,) log errors on each family's kernels by rates of the others: ours are of another kind than any of them."""
    names = np.array(rows.families)
    errors = np.zeros(len(names))
    for name in sorted(set(rows.families)):
        errors[names == name] = rows.take(names == name).log_errors(fit_coefficients(rows.take(names != name)))
    return errors


def errors_by_others(samples: Sequence[Sample], gpus: Sequence[FittedGpu]) -> tuple[Floats, ...]:
    """(rows,) log errors on each GPU by the mean rates of the others."""
    return tuple(
        rows.log_errors(mean_coefficients([gpu for gpu in gpus if gpu is not own]))
        for rows, own in zip(samples, gpus, strict=True)
    )


def spread(errors: Sequence[Floats]) -> tuple[float, float]:
    """The ends that hold 90 % of the errors of all GPUs together."""
    return _ends(np.concatenate(errors), (0.0, 0.0))


def _ends(errors: Floats, of_profile: tuple[float, float]) -> tuple[float, float]:
    """Those of the errors, and of the profile's own, independent ones."""
    everything = [ALL] * len(errors)
    low, high = conformal(errors, everything, everything, _USUAL_ERROR).of(ALL)
    below, above = of_profile
    return -round(float(np.hypot(low, below)), _DIGITS), round(float(np.hypot(high, above)), _DIGITS)
