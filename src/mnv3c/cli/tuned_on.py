"""`--tuned-on pocl`: kernels of a GPU chosen by records that `mnv3c tune` made through PoCL; only when asked for."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.compiler.opencl.pipeline import KernelChoice
    from mnv3c.compiler.opencl.program import Storage
    from mnv3c.compiler.opencl.target import OpenClTarget
    from mnv3c.targets.gpu.device import GpuDevice

_POCL = "pocl"
TunedOnOption = Annotated[
    str | None,
    typer.Option(
        metavar=_POCL,
        help="Choose kernels by records of mnv3c tune, measured on PoCL: a CPU, no GPU. Default: none.",
        rich_help_panel="GPUs",
    ),
]


def require_place(tuned_on: str | None, arithmetic: "Storage") -> None:
    """Raises UserError for a place that has no records of GPUs, or none of kernels that compute so."""
    if tuned_on not in (None, _POCL):
        raise UserError(f"--tuned-on: '{tuned_on}' is not one of {_POCL}")
    if tuned_on == _POCL and arithmetic == "fp16":
        raise UserError(f"--tuned-on: {_POCL} has no records with --accumulate fp16, since it cannot run such kernels")


def kernel_choice(tuned_on: str | None, target: "OpenClTarget[Any]", device: "GpuDevice") -> "KernelChoice":
    """By the user's records of that place, with a hint on stderr where there are none for this device; else guesses."""
    from mnv3c.compiler.opencl.pipeline import FirstGuesses
    from mnv3c.compiler.opencl.tune.choice import PoclChoice
    from mnv3c.compiler.opencl.tune.device import PoclDevice
    from mnv3c.compiler.tune.store import RecordStore

    if tuned_on is None:
        return FirstGuesses()
    here = PoclDevice.here(target, device)
    records = [each for each in RecordStore(here.records_path).records if each.device_class == here.device_class]
    if not records:
        precision = here.precision
        numbers = f"storage {precision.storage}, sums {precision.arithmetic}"
        words = f"--device {device.name}" + (" --storage fp16" if precision.storage == "fp16" else "")
        typer.echo(
            f"hint: --tuned-on {_POCL}: no records of '{device.name}' with {numbers} in {here.records_path}, so first"
            f" guesses are taken; mnv3c tune MODEL {words} makes some",
            err=True,
        )
    return PoclChoice(records, target, device)
