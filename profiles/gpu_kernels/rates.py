"""The rates of GPUs: by how much each term takes longer than nominal.

`rates.yaml` has those of GPUs of which there is a profile: `benchmarks/gpu_rates.py` makes it (see `fit`). Any other
GPU is taken to reach the same shares of what its own file states: the geometric mean over the GPUs of its target, if
two of those are known, else over all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from mnv3c.profiles.gpu_kernels.terms import TERMS
from mnv3c.profiles.physics.base import Floats
from mnv3c.targets.base_device import Frozen, as_tuple
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.strict_yaml import read_mapping

_Positive = Annotated[float, Field(gt=0)]
_Ends = Annotated[tuple[float, float], BeforeValidator(as_tuple)]


class Coefficients(Frozen):
    """By how much each of `TERMS` takes longer than nominal."""

    alu: _Positive
    cache: _Positive
    memory: _Positive
    waits: _Positive
    groups: _Positive
    start: _Positive

    @property
    def values(self) -> Floats:
        """(terms,) in the order of `TERMS`."""
        return np.array([getattr(self, name) for name in TERMS], np.float64)


class FittedGpu(Frozen):
    """A GPU of which there is a profile.

    `log_ratios` hold 90 % of log(profile / rates) of kernels of families that were held out. A network takes
    `network_ms` once, without the transfer of its input and outputs, and `launch_ms` for each kernel beside its own
    time: what the profile says (`overhead`).
    """

    device: str
    target: str
    profile: str
    coefficients: Coefficients
    log_ratios: _Ends
    network_ms: _Positive
    launch_ms: _Positive


class KnownRates(Frozen):
    """The file. `log_ratios` hold 90 % of the errors on each GPU by the rates of the others."""

    format: Literal["mnv3c-gpu-rates/1"]
    how: str
    log_ratios: _Ends
    gpus: Annotated[tuple[FittedGpu, ...], BeforeValidator(as_tuple), Field(min_length=2)]


@dataclass(frozen=True)
class Ranged:
    """A number, and the ends of its range."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rates:
    """What `KnownRates` says of one device; `log_ratios` are those of a kernel, `predicted_by` is what to print."""

    coefficients: Floats
    log_ratios: tuple[float, float]
    network_ms: Ranged
    launch_ms: Ranged
    predicted_by: str


def known_rates() -> KnownRates:
    """The rates that ship with the program."""
    return KnownRates.model_validate(read_mapping(Path(str(files("mnv3c.profiles.gpu_kernels"))) / "rates.yaml"))


def rates_of(device: GpuDevice, known: KnownRates) -> Rates:
    """The rates of a device: its own, or else those that others suggest."""
    for gpu in known.gpus:
        if gpu.device == device.name:
            return Rates(
                gpu.coefficients.values,
                gpu.log_ratios,
                Ranged(gpu.network_ms, gpu.network_ms, gpu.network_ms),
                Ranged(gpu.launch_ms, gpu.launch_ms, gpu.launch_ms),
                f"predicted for our kernels by rates fitted to profile {gpu.profile}; no such kernel has been measured",
            )
    kin = [gpu for gpu in known.gpus if gpu.target == device.target]
    return _suggested(device, kin if len(kin) > 1 else known.gpus, known)


def _suggested(device: GpuDevice, others: Sequence[FittedGpu], known: KnownRates) -> Rates:
    names = " and ".join([", ".join(gpu.device for gpu in others[:-1]), others[-1].device])
    return Rates(
        mean_coefficients(others),
        known.log_ratios,
        _ranged([gpu.network_ms for gpu in others], [gpu.network_ms for gpu in known.gpus]),
        _ranged([gpu.launch_ms for gpu in others], [gpu.launch_ms for gpu in known.gpus]),
        f"predicted for our kernels by the data sheet of {device.name}, scaled by what {names} reach of theirs; "
        "nothing has been measured on it",
    )


def mean_coefficients(gpus: Sequence[FittedGpu]) -> Floats:
    """(terms,) geometric means."""
    return np.asarray(np.exp(np.mean([np.log(gpu.coefficients.values) for gpu in gpus], axis=0)), np.float64)


def _ranged(near: Sequence[float], all_values: Sequence[float]) -> Ranged:
    return Ranged(float(np.exp(np.mean(np.log(near)))), min(all_values), max(all_values))
