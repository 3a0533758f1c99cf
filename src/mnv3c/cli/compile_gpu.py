"""`mnv3c compile` for a GPU: OpenCL kernels, and the program beside them that runs on the CPU."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.cli.compile_progress import listening
from mnv3c.cli.model import ModelOptions, load_model
from mnv3c.cli.tuned_on import kernel_choice, require_place
from mnv3c.cli.wide_console import wide_console
from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.compiler.opencl.manifest import Architecture
    from mnv3c.compiler.opencl.pipeline import GpuArtifact
    from mnv3c.compiler.opencl.program import Storage
    from mnv3c.profiles.gpu_kernels.predict import GpuPrediction
    from mnv3c.targets.gpu.device import GpuDevice
    from mnv3c.targets.gpu.features import KernelFeatures
    from mnv3c.targets.target import OperatingSystem

_PANEL = "GPUs"
_TABLE_WIDTH = 190
# Column, divisor, decimals.
_COUNTS = (("macs", 1e6, 2), ("operations", 1e6, 2), ("bytes_in", 1e3, 1), ("bytes_out", 1e3, 1))

HostCpuOption = Annotated[
    str | None,
    typer.Option(
        "--host-cpu", metavar="arm64|x86_64", help="The CPU beside the GPU. Default arm64.", rich_help_panel=_PANEL
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        metavar="fp32|fp16", help="Activations and weights in the GPU's memory. Default fp32.", rich_help_panel=_PANEL
    ),
]
AccumulateOption = Annotated[
    str | None,
    typer.Option(metavar="fp32|fp16", help="Sums; fp16 needs --storage fp16. Default fp32.", rich_help_panel=_PANEL),
]


@dataclass(frozen=True)
class GpuOptions:
    """What the command line said that has a meaning for GPUs alone; None where it said nothing."""

    host_cpu: str | None
    storage: str | None
    accumulate: str | None
    tuned_on: str | None

    def refuse(self, device: str) -> None:
        """Raises UserError naming an option that was given for a device that is no GPU."""
        options = {
            "host-cpu": self.host_cpu,
            "storage": self.storage,
            "accumulate": self.accumulate,
            "tuned-on": self.tuned_on,
        }
        for name, value in options.items():
            if value is not None:
                raise UserError(f"--{name} is for GPUs, and '{device}' is none")

    def architecture(self) -> "Architecture":
        """Raises UserError for a CPU that stands beside no GPU."""
        match self.host_cpu:
            case None | "arm64":
                return "aarch64"
            case "x86_64":
                return "x86_64"
            case other:
                raise UserError(f"--host-cpu: '{other}' is not one of arm64, x86_64")

    def precision(self) -> "tuple[Storage, Storage]":
        """What lies in memory, and what sums are. Raises UserError for what kernels cannot do."""
        storage, accumulate = float_of("storage", self.storage), float_of("accumulate", self.accumulate)
        if accumulate == "fp16" and storage == "fp32":
            raise UserError("--accumulate: fp16 needs --storage fp16")
        return storage, accumulate


def float_of(option: str, name: str | None) -> "Storage":
    """The type that an option names. Raises UserError for any other."""
    match name:
        case None | "fp32":
            return "fp32"
        case "fp16":
            return "fp16"
        case _:
            raise UserError(f"--{option}: '{name}' is not one of fp32, fp16")


def compile_for_gpu(
    model: str,
    options: ModelOptions,
    device: "GpuDevice",
    system: "OperatingSystem",
    output: Path | None,
    wanted: GpuOptions,
    dump: list[str],
    as_json: bool,
) -> None:
    """Compile a model for a GPU and print what was made."""
    architecture, precision = wanted.architecture(), wanted.precision()
    require_place(wanted.tuned_on, precision[1])
    if "calls" in dump:
        raise UserError(f"--dump: 'calls' is for CPUs; manifest.yaml lists what '{device.name}' launches")
    graph = load_model(model, options)

    from mnv3c.compiler.c_text import identifier
    from mnv3c.compiler.opencl.pipeline import GpuCompiler
    from mnv3c.compiler.opencl.target import load_opencl_target

    directory = output or Path("build") / f"{identifier(graph.name)}-{device.target}"
    target = load_opencl_target(device.target).with_storage(*precision)
    choice = kernel_choice(wanted.tuned_on, target, device)
    with listening(directory, dump) as listener:
        compiler = GpuCompiler(target, device, architecture, system, choice, listener=listener)
        artifact = compiler.compile(graph, directory)
    document = compiled_json(artifact, device, precision[1]) | {"tuned_on": wanted.tuned_on}
    typer.echo(json.dumps(document)) if as_json else _print_summary(artifact, device, document)


def compiled_json(artifact: "GpuArtifact", device: "GpuDevice", arithmetic: "Storage") -> dict[str, Any]:
    """The document of `mnv3c compile --json`."""
    files = {role: str(getattr(artifact.files, role)) for role in ("library", "header", "bench", "kernels")}
    features = _features(artifact, device)
    predicted = _prediction(artifact, device, features, arithmetic)
    return {
        "path": str(artifact.directory),
        "files": {**files, "manifest": str(artifact.manifest)},
        "device": device.name,
        "triple": artifact.toolchain.triple,
        "storage": artifact.program.storage,
        "arithmetic": arithmetic,
        "compile_s": round(artifact.compile_s, 3),
        "peak_activation_bytes": artifact.memory.peak_bytes,
        "lower_bound_activation_bytes": artifact.memory.lower_bound_bytes,
        "weights_bytes": artifact.program.weights_bytes,
        "predicted_by": predicted.predicted_by,
        "predicted_ms": predicted.total_ms,
        "low_ms": predicted.low_ms,
        "high_ms": predicted.high_ms,
        "kernels_ms": predicted.kernels_ms,
        "launches_ms": predicted.launches_ms,
        "once_ms": predicted.once_ms,
        "layers": list(_layers(artifact, features, predicted)),
    }


def _features(artifact: "GpuArtifact", device: "GpuDevice") -> "list[KernelFeatures]":
    """Counts of each launch, made of its kernel's text."""
    from typing import cast

    from mnv3c.targets.gpu.features import kernel_features
    from mnv3c.targets.gpu.kernel import GpuCandidate
    from mnv3c.targets.gpu.opencl import KernelSource

    found = []
    for call, launch in zip(artifact.network.calls, artifact.program.calls, strict=True):
        kernel = artifact.program.kernel(launch.kernel)
        source = KernelSource(kernel.name, kernel.source, kernel.global_size, kernel.local_size)
        found.append(kernel_features(cast(GpuCandidate, call.candidate), source, device))
    return found


def _prediction(
    artifact: "GpuArtifact", device: "GpuDevice", features: "list[KernelFeatures]", arithmetic: "Storage"
) -> "GpuPrediction":
    from mnv3c.compiler.layout import FLOAT_BYTES
    from mnv3c.profiles.gpu_kernels.predict import predict_launches
    from mnv3c.profiles.gpu_kernels.rates import known_rates, rates_of
    from mnv3c.profiles.gpu_kernels.terms import Launches

    program = artifact.program
    transferred_bytes = FLOAT_BYTES * sum(port.elements for port in (program.input, *program.outputs))
    rates = rates_of(device, known_rates())
    return predict_launches(Launches.of(features), transferred_bytes, arithmetic, device, rates)


def _layers(
    artifact: "GpuArtifact", features: "list[KernelFeatures]", predicted: "GpuPrediction"
) -> Iterator[dict[str, Any]]:
    """Rows of launches; `operations` and `occupancy` are estimates, made of the kernel's text."""
    from mnv3c.compiler.opencl.manifest import chosen_by

    calls = zip(artifact.network.calls, artifact.program.calls, features, predicted.kernels, strict=True)
    for call, launch, counted, expected in calls:
        kernel, candidate = artifact.program.kernel(launch.kernel), call.candidate
        written = launch.arguments[-1].size_bytes
        yield {
            "name": call.layer,
            "kind": call.kind,
            "in": list(call.inputs[0].type.shape),
            "out": list(call.output.type.shape),
            "macs": call.macs,
            "bytes_in": launch.bytes - written,
            "bytes_out": written,
            "kernel": candidate.family,
            "parameters": dict(candidate.parameters),
            "work_items": list(kernel.global_size),
            "work_group": list(kernel.local_size),
            "chosen_by": chosen_by(launch.layer, artifact.recorded),
            "operations": counted.operations,
            "occupancy": round(counted.occupancy, 3),
            "predicted_ms": expected.latency_ms,
            "low_ms": expected.low_ms,
            "high_ms": expected.high_ms,
            "bound": expected.bound,
        }


def _print_summary(artifact: "GpuArtifact", device: "GpuDevice", document: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for header in ("layer", "kind", "in", "out"):
        table.add_column(header, no_wrap=True)
    for header in ("M MACs", "M ops", "kB in", "kB out", "occup. %", "pred. us"):
        table.add_column(header, justify="right", no_wrap=True)
    for header in ("kernel", "work items", "work-group"):
        table.add_column(header, no_wrap=True)
    for layer in document["layers"]:
        before, after, items, group = ("x".join(map(str, layer[k])) for k in ("in", "out", "work_items", "work_group"))
        counts = (f"{layer[key] / scale:,.{digits}f}" for key, scale, digits in _COUNTS)
        busy, predicted = f"{100 * layer['occupancy']:.0f}", f"{1e3 * layer['predicted_ms']:,.0f}"
        table.add_row(
            layer["name"], layer["kind"], before, after, *counts, busy, predicted, layer["kernel"], items, group
        )
    console = wide_console(_TABLE_WIDTH)
    console.print(table)
    for line in _summary_lines(artifact, device, document):
        console.print(line, soft_wrap=True)


def _summary_lines(artifact: "GpuArtifact", device: "GpuDevice", document: dict[str, Any]) -> Iterator[str]:
    from mnv3c.compiler.execute import host_architecture

    layers, program = document["layers"], artifact.program
    macs, moved = sum(launch.macs for launch in program.calls), sum(launch.bytes for launch in program.calls)
    yield ""
    yield (
        f"{len(layers)} launches, {len(program.kernels)} kernels, {macs / 1e6:.2f} M MACs, {moved / 1e6:.2f} MB of"
        f" global memory read and written, compiled in {artifact.compile_s:.1f} s"
    )
    yield (
        f"activations {artifact.memory.peak_bytes / 1e6:.2f} MB, weights {program.weights_bytes / 1e6:.2f} MB, in"
        f" {program.storage}"
    )
    if document["tuned_on"] is not None:
        chosen = f"{len(artifact.recorded)} of {len(layers)} kernels chosen"
        yield f"{chosen} by records measured on PoCL, which is a CPU and no GPU"
    yield f"M ops and occupancy are estimates for '{device.name}' from the kernels' text, not measurements"
    total, low, high, kernels, launching, once = (
        f"{document[f'{name}_ms']:.2f}" for name in ("predicted", "low", "high", "kernels", "launches", "once")
    )
    parts = f"kernels {kernels}, launches {launching}, upload and read-back {once}"
    yield f"predicted {total} ms (90 %: {low} to {high}): {parts};"
    yield f"  {document['predicted_by']}"
    yield ""
    for path in document["files"].values():
        yield f"  {path}"
    yield ""
    architecture = artifact.toolchain.triple.partition("-")[0]
    halves = document["arithmetic"] == "fp16"
    if halves:
        yield "sums in halves need an OpenCL device with cl_khr_fp16, which PoCL's CPU device lacks"
    if artifact.toolchain.android:
        yield f"run it on a phone: mnv3c run {artifact.directory} --on adb:SERIAL --profile"
    elif architecture != host_architecture():
        yield f"run it on a board: mnv3c run {artifact.directory} --on ssh:BOARD --profile"
    else:
        yield f"run it here:       mnv3c run {artifact.directory}{'' if halves else ' --on pocl'}"
