"""`mnv3c compile`: a network to a native program."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.cli.compile_accelerator import (
    AcceleratorOptions,
    CalibrateOption,
    CalibrationOption,
    RoundingOption,
    compile_for,
)
from mnv3c.cli.compile_gpu import AccumulateOption, GpuOptions, HostCpuOption, StorageOption, compile_for_gpu
from mnv3c.cli.compile_progress import STAGES, listening, require_stages
from mnv3c.cli.device import DeviceOption, SetOption, TargetOption, chosen_device_of_any_kind
from mnv3c.cli.model import ModelArgument, ModelOptions, load_model, with_model_options
from mnv3c.cli.tuned_on import TunedOnOption
from mnv3c.cli.wide_console import wide_console
from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.compiler.pipeline import Artifact
    from mnv3c.targets.device import CpuDevice
    from mnv3c.targets.target import OperatingSystem, WeightPrecision

_TABLE_WIDTH = 150
# Column, divisor, decimals.
_COUNTS = (("macs", 1e6, 2), ("bytes_in", 1e3, 0), ("bytes_out", 1e3, 0))


@with_model_options
def compile_command(
    model: ModelArgument = "large",
    *,
    options: ModelOptions,
    target: TargetOption = None,
    device: DeviceOption = None,
    operating_system: Annotated[
        str, typer.Option("--os", metavar="linux|android", help="Where it will run.")
    ] = "linux",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Default: build/NAME-TARGET.")
    ] = None,
    weights: Annotated[
        str,
        typer.Option(metavar="fp32|fp16", help="How matrix-vector layers store weights: squeeze-excite, classifier."),
    ] = "fp32",
    threads: Annotated[int, typer.Option(min=1, max=64, help="How many threads the program will mostly run with.")] = 1,
    no_records: Annotated[
        bool, typer.Option("--no-records", help="Choose kernels without the tuner's records.")
    ] = False,
    dump: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE", help=f"Write a stage's text to DIR/dump: {', '.join(STAGES)}, or all."),
    ] = None,
    settings: SetOption = None,
    calibrate: CalibrateOption = None,
    calibration: CalibrationOption = None,
    rounding: RoundingOption = None,
    host_cpu: HostCpuOption = None,
    storage: StorageOption = None,
    accumulate: AccumulateOption = None,
    tuned_on: TunedOnOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Compile a network into a native program that needs no TVM: a library, a header, and a bench.

    For a GPU: OpenCL kernels, and the program for the CPU beside it that runs them. For an accelerator: quantise it (or
    take an int8 .tflite as it is) and write the accelerator's commands.

    Example: mnv3c compile small --target arm64 --device cortex-a55
    """
    from mnv3c.targets.device import CpuDevice, of_kind
    from mnv3c.targets.edgetpu.device import AcceleratorDevice
    from mnv3c.targets.gpu.device import GpuDevice

    system, precision = _operating_system(operating_system), _weight_precision(weights)
    require_stages(dump or [])
    found = chosen_device_of_any_kind(target, device)
    wanted, of_gpu = (
        AcceleratorOptions(settings, calibrate, calibration, rounding),
        GpuOptions(host_cpu, storage, accumulate, tuned_on),
    )
    if not isinstance(found, GpuDevice):
        of_gpu.refuse(found.name)
    if not isinstance(found, AcceleratorDevice):
        wanted.refuse(found.name)
    for_cpus = {"weights": precision != "fp32", "threads": threads != 1, "no-records": no_records}
    if isinstance(found, AcceleratorDevice):
        given = {"os": system != "linux", **for_cpus, "dump": bool(dump)}
        _refuse(given, f"is for native programs, and '{found.name}' is an accelerator")
        compile_for(model, options, found, output, wanted, as_json)
        return
    if isinstance(found, GpuDevice):
        _refuse(for_cpus, f"is for programs that compute on CPUs, and '{found.name}' is a GPU")
        compile_for_gpu(model, options, found, system, output, of_gpu, dump or [], as_json)
        return
    chosen = of_kind(found, CpuDevice)
    artifact = _compiled(model, options, chosen, output, system, precision, threads, no_records, dump or [])
    typer.echo(json.dumps(compile_json(artifact))) if as_json else _print_summary(artifact)


def _refuse(given: Mapping[str, bool], reason: str) -> None:
    for name, is_given in given.items():
        if is_given:
            raise UserError(f"--{name} {reason}")


def _compiled(
    model: str,
    options: ModelOptions,
    chosen: "CpuDevice",
    output: Path | None,
    system: "OperatingSystem",
    precision: "WeightPrecision",
    threads: int,
    no_records: bool,
    dump: list[str],
) -> "Artifact":
    """The native program of a model, with progress on stderr."""
    from mnv3c.compiler.c_text import identifier
    from mnv3c.compiler.pipeline import Compiler
    from mnv3c.compiler.tune.metaschedule.traces import known_trace_folders
    from mnv3c.compiler.tune.store import known_records

    graph = load_model(model, options)
    directory = output or Path("build") / f"{identifier(graph.name)}-{chosen.target}"
    with listening(directory, dump) as listener:
        from mnv3c.targets.loader import load_target

        records = () if no_records else known_records(chosen)
        of_target = load_target(chosen.target)
        compiler = Compiler(
            of_target,
            chosen,
            system,
            records=records,
            listener=listener,
            weights=precision,
            traces=known_trace_folders(chosen),
            threads=threads,
        )
        return compiler.compile(graph, directory)


def compile_json(artifact: "Artifact") -> dict[str, Any]:
    """The document of `mnv3c compile --json`."""
    from mnv3c.compiler.manifest import chosen_by

    error = artifact.weights_error
    return {
        "path": str(artifact.directory),
        "files": {
            "library": str(artifact.files.library),
            "header": str(artifact.files.header),
            "bench": str(artifact.files.bench),
            "manifest": str(artifact.manifest),
        },
        "triple": artifact.toolchain.triple,
        "threads": artifact.threads,
        "compile_s": round(artifact.compile_s, 3),
        "peak_activation_bytes": artifact.memory.peak_bytes,
        "lower_bound_activation_bytes": artifact.memory.lower_bound_bytes,
        "weights_bytes": artifact.program.weights_bytes,
        **({} if error is None else {"weights_precision": "fp16", "weights_error": error}),
        "layers": [
            {
                "name": call.layer,
                "kind": call.kind,
                "in": list(call.inputs[0].type.shape),
                "out": list(call.output.type.shape),
                "macs": call.macs,
                "bytes_in": call.bytes_in,
                "bytes_out": call.bytes_out,
                "kernel": call.candidate.family,
                "parameters": dict(call.candidate.parameters),
                "chosen_by": chosen_by(call.candidate, artifact.recorded, artifact.estimated),
            }
            for call in artifact.network.calls
        ],
    }


def _operating_system(name: str) -> "OperatingSystem":
    match name:
        case "linux" | "android":
            return name
        case _:
            raise UserError(f"--os: '{name}' is not one of linux, android")


def _weight_precision(name: str) -> "WeightPrecision":
    match name:
        case "fp32" | "fp16":
            return name
        case _:
            raise UserError(f"--weights: '{name}' is not one of fp32, fp16")


def _print_summary(artifact: "Artifact") -> None:
    from rich.table import Table

    document = compile_json(artifact)
    table = Table(box=None, pad_edge=False)
    for header in ("layer", "kind", "in", "out"):
        table.add_column(header, no_wrap=True)
    for header in ("M MACs", "kB in", "kB out"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("kernel", no_wrap=True)
    for layer in document["layers"]:
        shapes = ("x".join(map(str, layer[key])) for key in ("in", "out"))
        counts = (f"{layer[key] / scale:,.{digits}f}" for key, scale, digits in _COUNTS)
        table.add_row(layer["name"], layer["kind"], *shapes, *counts, layer["kernel"])
    console = wide_console(_TABLE_WIDTH)
    console.print(table)
    for line in _summary_lines(artifact, document):
        console.print(line, soft_wrap=True)


def _summary_lines(artifact: "Artifact", document: dict[str, Any]) -> Iterator[str]:
    program, memory = artifact.program, artifact.memory
    macs = sum(layer["macs"] for layer in document["layers"])
    kernels = len({call.symbol for call in program.calls})
    bench = artifact.files.bench
    yield ""
    counts = f"{len(program.calls)} layers, {kernels} kernels, {macs / 1e6:.2f} M MACs"
    yield f"{counts}, compiled in {artifact.compile_s:.1f} s"
    estimated = sum(layer["chosen_by"] == "llvm-mca" for layer in document["layers"])
    if estimated:
        yield f"{estimated} kernels chosen by estimate (llvm-mca: no caches, no memory), for want of measured records"
    yield (
        f"activations {memory.peak_bytes / 1e6:.2f} MB (lower bound {memory.lower_bound_bytes / 1e6:.2f} MB), "
        f"weights {program.weights_bytes / 1e6:.2f} MB"
    )
    if artifact.weights_error is not None:
        yield (
            f"weights of matrix-vector layers in fp16 change the check input's outputs by {artifact.weights_error:.1e}"
            " of the largest value"
        )
    yield ""
    for path in (artifact.files.library, artifact.files.header, bench, artifact.manifest):
        yield f"  {path}"
    yield ""
    yield f"run it here:       mnv3c run {artifact.directory}"
    if artifact.toolchain.android:
        yield f"run it on a phone: adb push {bench} /data/local/tmp && adb shell /data/local/tmp/{bench.name} --profile"
    else:
        yield f"run it on a board: scp {bench} BOARD: && ssh BOARD ./{bench.name} --profile"
