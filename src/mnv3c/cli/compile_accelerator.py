"""`mnv3c compile` for an accelerator: quantise, plan, spell out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.cli.model import ModelOptions, load_model
from mnv3c.cli.wide_console import wide_console
from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.compiler.accelerator import CompiledNetwork
    from mnv3c.graph.integer.network import IntegerNetwork
    from mnv3c.targets.edgetpu.device import AcceleratorDevice

_PANEL = "Accelerators"
_TABLE_WIDTH = 150
# Ranges of seeded inputs hardly move any more after so many.
SEEDED_SAMPLES = 8
SEED = 0

CalibrateOption = Annotated[
    Path | None,
    typer.Option(
        "--calibrate",
        metavar="DIR",
        help="Images (or .npy) to choose the integers' ranges by. Default: seeded noise.",
        rich_help_panel=_PANEL,
    ),
]
CalibrationOption = Annotated[
    str | None,
    typer.Option(metavar="minmax|percentile|mse", help="How ranges are chosen.", rich_help_panel=_PANEL),
]
RoundingOption = Annotated[
    str | None,
    typer.Option(
        metavar="gemmlowp_double|single|float32_rne", help="How the vector unit rounds.", rich_help_panel=_PANEL
    ),
]


@dataclass(frozen=True)
class AcceleratorOptions:
    """What the command line said that has a meaning for accelerators alone; None where it said nothing."""

    settings: list[str] | None
    calibrate: Path | None
    calibration: str | None
    rounding: str | None

    def refuse(self, device: str) -> None:
        """Raises UserError naming an option that was given for a device that is no accelerator."""
        for name, value in (
            ("set", self.settings),
            ("calibrate", self.calibrate),
            ("calibration", self.calibration),
            ("rounding", self.rounding),
        ):
            if value:
                raise UserError(f"--{name} is for accelerators, and '{device}' is none")


def compile_for(
    model: str,
    options: ModelOptions,
    device: "AcceleratorDevice",
    output: Path | None,
    wanted: AcceleratorOptions,
    as_json: bool,
) -> None:
    """Compile a model for an accelerator and print what was made."""
    from mnv3c.compiler.accelerator import compile_for_accelerator
    from mnv3c.compiler.c_text import identifier
    from mnv3c.targets.edgetpu.settings import parse_settings

    settings = parse_settings(wanted.settings or [])
    configured = device.with_settings(settings)
    network, calibration = _quantised(model, options, wanted)
    directory = output or Path("build") / f"{identifier(network.graph.name)}-{device.target}"
    compiled = compile_for_accelerator(network, configured, directory, calibration, settings)
    typer.echo(json.dumps(compiled_json(compiled))) if as_json else _print_summary(compiled)


def compiled_json(compiled: "CompiledNetwork") -> dict[str, Any]:
    """The document of `mnv3c compile --json`."""
    artifact, memory = compiled.artifact, compiled.program.memory
    manifest = artifact.manifest
    files = {role: str(artifact.path(role)) for role in manifest.files}
    return {
        "path": str(artifact.directory),
        "files": {**files, "manifest": str(artifact.directory / "manifest.yaml")},
        "device": manifest.device,
        "rounding": manifest.rounding,
        "calibration": manifest.calibration,
        "compile_s": round(compiled.compile_s, 3),
        **{key: memory[key] for key in ("peak_activation_bytes", "peak_sram_bytes", "weights_bytes")},
        "layers": [
            {
                "name": row.name,
                "kind": row.kind,
                "in": list(row.input_shape),
                "out": list(row.output_shape),
                "macs": row.macs,
                "commands": row.commands,
                "dram_bytes": row.dram_read_bytes + row.dram_write_bytes,
                "tile": dict(zip(("rows", "columns", "channels", "depth"), row.tile, strict=True)),
                "order": row.order,
            }
            for row in compiled.program.layers
        ],
    }


def _quantised(model: str, options: ModelOptions, wanted: AcceleratorOptions) -> "tuple[IntegerNetwork, str]":
    """The integer network, and what its ranges were chosen by."""
    if Path(model).suffix.lower() == ".tflite":
        return _imported(model, options, wanted), "the model's own"
    from mnv3c.compiler.calibration_files import calibration_files, file_samples
    from mnv3c.graph.calibration.samples import seeded_samples
    from mnv3c.graph.passes.quantize import Quantize

    # Quantize checks both names.
    quantize: Any = Quantize
    passed = quantize(method=wanted.calibration or "minmax", rounding=wanted.rounding or "gemmlowp_double")
    graph = load_model(model, options)
    if wanted.calibrate is None:
        samples = seeded_samples(graph, SEEDED_SAMPLES, SEED)
        source = f"{SEEDED_SAMPLES} seeded samples"
    else:
        files = calibration_files(wanted.calibrate)
        samples, source = file_samples(graph, files), f"{len(files)} files"
    return passed.run(graph, samples), f"{passed.method} over {source}"


def _imported(model: str, options: ModelOptions, wanted: AcceleratorOptions) -> "IntegerNetwork":
    from mnv3c.graph.importers.tflite import import_tflite

    if options != ModelOptions():
        raise UserError(f"the network's options are for the models large and small; none can be given with '{model}'")
    for name in ("calibrate", "calibration", "rounding"):
        if getattr(wanted, name) is not None:
            raise UserError(f"--{name} is for networks of real numbers; '{model}' is quantised")
    return import_tflite(Path(model))


def _print_summary(compiled: "CompiledNetwork") -> None:
    from rich.table import Table

    document, memory = compiled_json(compiled), compiled.program.memory
    table = Table(box=None, pad_edge=False)
    for header in ("layer", "kind", "in", "out", "tile"):
        table.add_column(header, no_wrap=True)
    for header in ("M MACs", "commands", "kB DRAM"):
        table.add_column(header, justify="right", no_wrap=True)
    for layer in document["layers"]:
        shapes = ("x".join(map(str, extents)) for extents in (layer["in"], layer["out"], layer["tile"].values()))
        counts = (f"{layer['macs'] / 1e6:,.2f}", f"{layer['commands']:,}", f"{layer['dram_bytes'] / 1e3:,.1f}")
        table.add_row(layer["name"], layer["kind"], *shapes, *counts)
    console = wide_console(_TABLE_WIDTH)
    console.print(table)
    commands = sum(layer["commands"] for layer in document["layers"])
    lines = [
        "",
        f"{len(document['layers'])} layers, {commands:,} commands, made in {document['compile_s']:.1f} s",
        f"int8 by {document['calibration']}, rounding {document['rounding']}",
        f"SRAM {memory['peak_sram_bytes'] / 1e6:.2f} MB used of {memory['sram_bytes'] / 1e6:.2f} MB, weights "
        f"{memory['weights_bytes'] / 1e6:.2f} MB, of which {memory['pinned_weights_bytes'] / 1e6:.2f} MB stay in SRAM",
        "",
        *(f"  {path}" for path in document["files"].values()),
        "",
        f"run it in the emulator: mnv3c run {document['path']}",
    ]
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
