"""The latency of a network's launches on a GPU, launches and transfers included."""

from dataclasses import dataclass

import numpy as np

from mnv3c.profiles.gpu_kernels.rates import Rates
from mnv3c.profiles.gpu_kernels.terms import TERMS, Launches, terms_ms
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.precision import Float

# A copy reads and writes each byte.
_COPY = 2
_MS_PER_S = 1e3


@dataclass(frozen=True)
class LaunchPrediction:
    """One kernel, as its event's timestamps would show it: milliseconds, a 90 % interval, the term that takes most."""

    latency_ms: float
    low_ms: float
    high_ms: float
    bound: str


@dataclass(frozen=True)
class GpuPrediction:
    """A network: the sum of its kernels, what launching takes beside them, and what happens once (`once_ms`).

    `once_ms` has the copies of the input and the outputs, and the wait for the last kernel.
    """

    kernels: tuple[LaunchPrediction, ...]
    kernels_ms: float
    launches_ms: float
    once_ms: float
    low_ms: float
    high_ms: float
    predicted_by: str

    @property
    def total_ms(self) -> float:
        """Milliseconds from the caller's input to the caller's outputs."""
        return self.kernels_ms + self.launches_ms + self.once_ms


def predict_launches(
    launches: Launches, transferred_bytes: int, arithmetic: Float, device: GpuDevice, rates: Rates
) -> GpuPrediction:
    """Predict the launches of a network whose input and outputs have so many bytes.

    Errors of kernels are taken to go together, since none of ours has been measured: ends of intervals add up.
    """
    each_ms = terms_ms(launches, device, arithmetic) * rates.coefficients
    latency_ms, most = each_ms.sum(1), each_ms.argmax(1)
    low, high = np.exp(rates.log_ratios)
    kernels = tuple(
        LaunchPrediction(float(ms), float(ms * low), float(ms * high), TERMS[term])
        for ms, term in zip(latency_ms, most, strict=True)
    )
    copied_ms = copy_ms(transferred_bytes, device, float(rates.coefficients[TERMS.index("memory")]))
    sum_ms, count = float(latency_ms.sum()), len(kernels)
    once, launch = rates.network_ms, rates.launch_ms
    return GpuPrediction(
        kernels,
        sum_ms,
        launch.value * count,
        once.value + copied_ms,
        float(sum_ms * low) + launch.low * count + once.low + copied_ms,
        float(sum_ms * high) + launch.high * count + once.high + copied_ms,
        rates.predicted_by,
    )


def copy_ms(size_bytes: int, device: GpuDevice, coefficient: float) -> float:
    """Milliseconds of a copy between the caller's memory and the GPU's, at the rate at which its kernels move bytes.

    `coefficient` is that of `memory`. Below 1 it tells of what kernels find in caches, which a copy does not.
    """
    return _COPY * size_bytes / device.memory.bandwidth_bytes_per_s * max(1.0, coefficient) * _MS_PER_S
