"""`mnv3c run`: run a compiled network on an input."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.cli.measure_programs import SshOption
from mnv3c.cli.run_gpu import CheckOption, GpuRunOptions, ProfileOption, TuneOption, TuningOption, execute_gpu
from mnv3c.graph.errors import UserError
from mnv3c.graph.whole_file import whole_file

if TYPE_CHECKING:
    from mnv3c.compiler.accelerator import AcceleratorArtifact
    from mnv3c.compiler.execute import Array, Artifact, Place
    from mnv3c.compiler.manifest import PreprocessingEntry
    from mnv3c.compiler.opencl.execute import InstalledGpuArtifact

    AnyArtifact = Artifact | AcceleratorArtifact | InstalledGpuArtifact


def run(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that mnv3c compile made.")],
    input_file: Annotated[
        Path | None, typer.Option("--input", help="A .npy (float32, the network's shape), .png or .jpg file.")
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="host, emulator; for GPUs host, pocl (on this CPU), ssh:[USER@]HOST[:PORT] or adb:SERIAL. Default: "
            "whichever runs this architecture.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the output (several: NAME-0.npy, ...) to this .npy file.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 5,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of the network.")] = 1,
    runs: Annotated[int, typer.Option(min=0, help="Also time so many runs; an emulator's are none.")] = 0,
    tune: TuneOption = None,
    tuning: TuningOption = None,
    check: CheckOption = False,
    profile: ProfileOption = False,
    ssh_option: SshOption = None,
    mean: Annotated[str | None, typer.Option(help="Mean per RGB channel of images in 0..1, as 0.5,0.5,0.5.")] = None,
    std: Annotated[str | None, typer.Option(help="Standard deviation per RGB channel.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Run a compiled network on an image or an array, natively or under an emulator.

    Example: mnv3c run build/mobilenet_v3_large-arm64 --input cat.jpg
    """
    from mnv3c.compiler.accelerator_manifest import ACCELERATOR_FORMAT
    from mnv3c.compiler.execute import Artifact
    from mnv3c.compiler.input_files import load_input
    from mnv3c.compiler.manifest_file import artifact_format
    from mnv3c.compiler.opencl.manifest import GPU_FORMAT

    if output is not None and output.suffix != ".npy":
        raise UserError(f"--output: {output} must end in .npy")
    of_gpu = GpuRunOptions(on, runs, tune, tuning, check, profile, tuple(ssh_option or ()))
    found = artifact_format(directory)
    if found == GPU_FORMAT:
        if threads != 1:
            raise UserError(f"--threads: {directory} is for a GPU, whose driver decides about threads")
        _run_on_gpu(directory, input_file, _preprocessing(mean, std), output, top, of_gpu, as_json)
        return
    of_gpu.refuse(directory)
    if found == ACCELERATOR_FORMAT:
        if _place(on) == "host":
            raise UserError(f"--on: {directory} is for an accelerator, which only the emulator stands in for")
        if runs or threads != 1:
            raise UserError(
                f"--{'runs' if runs else 'threads'}: {directory} is for an accelerator; mnv3c emulate times it"
            )
        _run_emulated(directory, input_file, _preprocessing(mean, std), output, top, as_json)
        return
    artifact = Artifact.open(directory)
    place = artifact.place(_place(on))
    if runs and place == "emulator":
        raise UserError("--runs: an emulator's time is no latency; time the network on a device")
    values = load_input(input_file, artifact.manifest, _preprocessing(mean, std)) if input_file else None
    execution = artifact.execute(values, place, threads, runs)
    rows = _rows(artifact, execution.outputs, output, top)
    document: dict[str, Any] = {"outputs": rows, "on": execution.on}
    if execution.measured_ms is not None:
        document["measured_ms"] = execution.measured_ms
    typer.echo(json.dumps(document)) if as_json else _show(document, input_file, artifact, threads)


def _run_emulated(
    directory: Path,
    input_file: Path | None,
    preprocessing: "PreprocessingEntry | None",
    output: Path | None,
    top: int,
    as_json: bool,
) -> None:
    """Execute an accelerator's commands; integers inside, real numbers at the edge."""
    from math import prod

    from mnv3c.compiler.accelerator import AcceleratorArtifact
    from mnv3c.compiler.check_input import check_input
    from mnv3c.compiler.input_files import load_input

    artifact = AcceleratorArtifact.open(directory)
    shape = artifact.manifest.input.shape
    if input_file is None:
        values = check_input(prod(shape), 0).reshape(shape)
    else:
        values = load_input(input_file, artifact.manifest, preprocessing)
    rows = _rows(artifact, artifact.run(values), output, top)
    document = {"outputs": rows, "on": f"emulator of {artifact.manifest.device} (no latency)"}
    typer.echo(json.dumps(document)) if as_json else _show(document, input_file, artifact, 1)


def _run_on_gpu(
    directory: Path,
    input_file: Path | None,
    preprocessing: "PreprocessingEntry | None",
    output: Path | None,
    top: int,
    options: GpuRunOptions,
    as_json: bool,
) -> None:
    """Run a GPU's program where there is an OpenCL."""
    from mnv3c.compiler.input_files import load_input
    from mnv3c.compiler.opencl.execute import InstalledGpuArtifact

    with options.place() as place:
        artifact = InstalledGpuArtifact.open(directory, place=place)
        values = load_input(input_file, artifact.manifest, preprocessing) if input_file else None
        done = execute_gpu(artifact, values, options)
    rows = _rows(artifact, done.execution.outputs, output, top)
    document = {"outputs": rows, "on": done.on, **done.facts}
    if as_json:
        typer.echo(json.dumps(document))
        return
    _show_outputs(document, input_file, artifact)
    for line in done.lines:
        typer.echo(line)


def _place(on: str | None) -> "Place | None":
    match on:
        case None | "host" | "emulator":
            return on
        case _:
            raise UserError(f"--on: '{on}' is not one of host, emulator")


def _preprocessing(mean: str | None, std: str | None) -> "PreprocessingEntry | None":
    from mnv3c.compiler.manifest import PreprocessingEntry

    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise UserError("--mean and --std go together")
    return PreprocessingEntry(mean=_triple("--mean", mean), std=_triple("--std", std))


def _triple(option: str, text: str) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(word) for word in text.split(","))
    except ValueError:
        raise UserError(f"{option}: '{text}' is not three numbers, as in 0.5,0.5,0.5") from None
    if not all(map(math.isfinite, (red, green, blue))) or (option == "--std" and min(red, green, blue) <= 0):
        raise UserError(f"{option}: must be finite{' and positive' if option == '--std' else ''}, not '{text}'")
    return red, green, blue


def _rows(artifact: "AnyArtifact", outputs: "tuple[Array, ...]", output: Path | None, top: int) -> list[dict[str, Any]]:
    import numpy as np

    rows: list[dict[str, Any]] = []
    ports = artifact.manifest.outputs
    for index, (port, values) in enumerate(zip(ports, outputs, strict=True)):
        row: dict[str, Any] = {"name": port.name, "shape": list(port.shape)}
        if output is not None or values.ndim > 2:
            path = output or artifact.directory / f"output-{artifact.manifest.name}.npy"
            row["file"] = str(_save(path if len(ports) == 1 else path.with_stem(f"{path.stem}-{index}"), values))
        flat = values.ravel()
        best = np.argsort(-flat, kind="stable")[: top if values.ndim <= 2 else 0]
        row["top"] = [[int(i), float(flat[i])] for i in best]
        rows.append(row)
    return rows


def _save(path: Path, values: Any) -> Path:
    import numpy as np

    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, values)
    return path


def _show(document: dict[str, Any], input_file: Path | None, artifact: "AnyArtifact", threads: int) -> None:
    _show_outputs(document, input_file, artifact)
    if "measured_ms" in document:
        typer.echo(f"  measured on this host: median {document['measured_ms']:.3f} ms, {threads} thread(s)")
    if str(document["on"]).startswith("emulator"):
        typer.echo("  emulated: the numbers are the device's, the time it took is not a latency")


def _show_outputs(document: dict[str, Any], input_file: Path | None, artifact: "AnyArtifact") -> None:
    source = str(input_file) if input_file else "the built-in check input"
    typer.echo(f"{artifact.manifest.name} ({artifact.manifest.device}) on {document['on']}, input: {source}")
    for row in document["outputs"]:
        shape = "x".join(map(str, row["shape"]))
        typer.echo(f"  {row['name']}: {shape}" + (f" -> {row['file']}" if "file" in row else ""))
        for index, value in row["top"]:
            typer.echo(f"    {index:6d}  {value:.6g}")
