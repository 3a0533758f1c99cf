"""Fit the rates by which `mnv3c compile` predicts GPU kernels to the shipped profiles of GPUs, and judge them.

    python benchmarks/gpu_rates.py [--output profiles/gpu_kernels/rates.yaml]

It prints by how much the rates miss the profiles: families of kernels by rates of the other families, and each GPU by
the rates of the others.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import yaml

from mnv3c.graph.whole_file import check_place, write_whole
from mnv3c.profiles.gpu_kernels.fit import Sample, errors_by_others, fit_gpu, held_out_errors, sample, spread
from mnv3c.profiles.gpu_kernels.rates import KnownRates
from mnv3c.profiles.library import find_profile
from mnv3c.profiles.physics.base import Floats
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.registry import find_device

RATES = Path(__file__).parents[1] / "profiles" / "gpu_kernels" / "rates.yaml"
# Device, its profile, and whether TFLite cuts convolutions along flattened maps there.
PROFILES = (
    ("adreno-616", "adreno616-gpu-tflite", False),
    ("adreno-640", "adreno640-gpu-tflite", False),
    ("powervr-ge8320", "powervr-gpu-tflite", True),
)


def fitted() -> tuple[tuple[Sample, ...], KnownRates]:
    samples, gpus = [], []
    for name, profile_name, flat in PROFILES:
        profile, device = find_profile(profile_name), find_device(name, kind=GpuDevice)
        samples.append(sample(profile, device, flat))
        gpus.append(fit_gpu(profile, device, samples[-1]))
    within = spread(errors_by_others(samples, gpus))
    how = "python benchmarks/gpu_rates.py"
    return tuple(samples), KnownRates(format="mnv3c-gpu-rates/1", how=how, log_ratios=within, gpus=tuple(gpus))


def text(known: KnownRates) -> str:
    head = "# How much longer GPUs take for each term of a kernel than their device files state (docs/cost-model.md).\n"
    body: str = yaml.safe_dump(known.model_dump(mode="json"), sort_keys=False, width=120, default_flow_style=None)
    return head + body


def judge(samples: Sequence[Sample], known: KnownRates) -> None:
    for rows, gpu in zip(samples, known.gpus, strict=True):
        print(f"{gpu.device}: {len(rows.families)} kernels, {gpu.coefficients}, within {gpu.log_ratios}")
        errors, own, names = held_out_errors(rows), rows.log_errors(gpu.coefficients.values), np.array(rows.families)
        for name in sorted(set(rows.families)):
            chosen = names == name
            print(f"  {name:18} {chosen.sum():4}  fitted {told(own[chosen])}, family held out {told(errors[chosen])}")
    print(f"by the rates of the other GPUs, together within {known.log_ratios}:")
    each = errors_by_others(samples, known.gpus)
    for gpu, errors in zip(known.gpus, each, strict=True):
        print(f"  {gpu.device:15} {told(errors)}")
    adrenos = [gpu for gpu in known.gpus if gpu.target == "adreno"]
    rows_of_adrenos = [rows for rows, gpu in zip(samples, known.gpus, strict=True) if gpu.target == "adreno"]
    for gpu, errors in zip(adrenos, errors_by_others(rows_of_adrenos, adrenos), strict=True):
        print(f"  {gpu.device:15} {told(errors)} by the other Adreno")


def told(errors: Floats) -> str:
    low, middle, high = np.exp(np.quantile(errors, (0.05, 0.5, 0.95)))
    return f"profile / rates {middle:.2f} ({low:.2f} to {high:.2f})"


def main(output: Annotated[Path, typer.Option(help="Where the rates go. Default: those that ship.")] = RATES) -> None:
    """Fit rates of GPU kernels to the shipped profiles of GPUs, and print by how much they miss those."""
    check_place(output)
    samples, known = fitted()
    judge(samples, known)
    write_whole(output, text(known))


if __name__ == "__main__":
    from command_line import run_command_line

    run_command_line("gpu_rates", main)
