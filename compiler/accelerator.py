"""Networks for accelerators: a folder with the commands, the DRAM image, the quantised model and a manifest."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from mnv3c.compiler.accelerator_manifest import (
    AcceleratorLayerEntry,
    AcceleratorManifest,
    QuantizedPortEntry,
)
from mnv3c.compiler.assemble import to_caller_layout
from mnv3c.compiler.c_text import identifier
from mnv3c.compiler.manifest import PreprocessingEntry, file_entry
from mnv3c.compiler.manifest_file import MANIFEST_NAME, read_document, write_document
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.exporters.tflite import export_tflite
from mnv3c.graph.integer.network import IntegerNetwork
from mnv3c.graph.ir import Array
from mnv3c.graph.ops import Input
from mnv3c.graph.tensor import Layout
from mnv3c.targets.accelerator import AcceleratorProgram, LoadedProgram, TensorPort, load_backend
from mnv3c.targets.base_device import Device


@dataclass(frozen=True, eq=False)
class AcceleratorArtifact:
    """A network for an accelerator, on disk."""

    directory: Path
    manifest: AcceleratorManifest

    @staticmethod
    def open(directory: Path) -> "AcceleratorArtifact":
        """Raises UserError where the folder holds none."""
        return AcceleratorArtifact(directory, read_document(AcceleratorManifest, directory / MANIFEST_NAME))

    def path(self, role: str) -> Path:
        """A file's path: `commands`, `image` or `tflite`."""
        return self.directory / self.manifest.files[role].path

    def loaded(self) -> LoadedProgram:
        """The program in an emulated accelerator. Raises UserError for files that are not what the manifest says."""
        for role in ("commands", "image"):
            self._require(role)
        text, source = self.path("commands").read_text(encoding="utf-8"), str(self.path("commands"))
        image = np.fromfile(self.path("image"), np.uint8)
        return load_backend(self.manifest.target).load(text, source, image)

    def run(self, values: Array) -> tuple[Array, ...]:
        """Outputs for an input, both real numbers in the caller's order. Raises UserError for one of another shape."""
        entry = self.manifest.input
        if values.shape != entry.shape:
            raise UserError(f"the input has shape {list(values.shape)}, the network takes {list(entry.shape)}")
        program = self.loaded()
        if (len(program.inputs), len(program.outputs)) != (1, len(self.manifest.outputs)):
            raise UserError(f"{self.path('commands')} has other inputs and outputs than manifest.yaml; compile again")
        (port,) = program.inputs
        given = values.transpose(0, 2, 3, 1) if entry.layout == "NCHW" and values.ndim == 4 else values
        found = program.run({port.name: port.affine.quantize(np.ascontiguousarray(given))})
        layouts = (output.layout for output in self.manifest.outputs)
        return tuple(
            np.ascontiguousarray(
                of.affine.dequantize(found[of.name]).transpose(to_caller_layout(layout, len(of.shape)))
            )
            for of, layout in zip(program.outputs, layouts, strict=True)
        )

    def _require(self, role: str) -> None:
        path = self.path(role)
        if not path.is_file():
            raise MissingError(f"{path}: no such file; compile again")
        if file_entry(path) != self.manifest.files[role]:
            raise UserError(f"{path} is not the file that manifest.yaml describes; compile again")


@dataclass(frozen=True, eq=False)
class CompiledNetwork:
    """An artifact that has just been made, and how long that took."""

    artifact: AcceleratorArtifact
    program: AcceleratorProgram
    compile_s: float


def compile_for_accelerator(
    network: IntegerNetwork, device: Device, directory: Path, calibration: str, settings: Mapping[str, str]
) -> CompiledNetwork:
    """Write the artifact of a quantised network into `directory`, whole or not at all.

    `calibration` and `settings` go into the manifest, which is written last. Raises UserError for a network or device
    that cannot be, MissingError where the disk refuses.
    """
    begin = time.monotonic()
    if len(network.graph.inputs) != 1:
        raise UserError(f"graph '{network.graph.name}' has {len(network.graph.inputs)} inputs; a program takes one")
    program = load_backend(device.target).lower(network, device)
    name = identifier(network.graph.name)
    names = {"commands": f"{name}.commands.txt", "image": f"{name}.dram.bin", "tflite": f"{name}.tflite"}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".mnv3c-", dir=directory) as folder:
            made = {role: Path(folder) / file for role, file in names.items()}
            made["commands"].write_text(program.commands, encoding="utf-8")
            program.image.tofile(made["image"])
            export_tflite(network, made["tflite"])
            document = _manifest(network, program, device, made, calibration, settings)
            (directory / MANIFEST_NAME).unlink(missing_ok=True)
            for role, file in names.items():
                made[role].replace(directory / file)
    except OSError as error:
        raise MissingError(f"cannot write {directory}: {error.strerror or error}") from error
    write_document(document, directory / MANIFEST_NAME)
    return CompiledNetwork(AcceleratorArtifact(directory, document), program, time.monotonic() - begin)


def _manifest(
    network: IntegerNetwork,
    program: AcceleratorProgram,
    device: Device,
    files: Mapping[str, Path],
    calibration: str,
    settings: Mapping[str, str],
) -> AcceleratorManifest:
    graph = network.graph
    names = graph.output_names or graph.outputs
    op = graph.inputs[0].op
    assert isinstance(op, Input)
    return AcceleratorManifest(
        format="mnv3c-accelerator/1",
        name=identifier(graph.name),
        versions={"mnv3c": version("mnv3c"), "numpy": np.__version__},
        target=device.target,
        device=device.name,
        device_sha256=device.fingerprint,
        settings=dict(settings),
        rounding=network.rounding,
        calibration=calibration,
        input=_port_entry(program.inputs[0], program.inputs[0].name, op.layout),
        outputs=tuple(
            _port_entry(port, name, graph.output_layout) for port, name in zip(program.outputs, names, strict=True)
        ),
        preprocessing=PreprocessingEntry.of(graph.preprocessing),
        memory=dict(program.memory),
        files={role: file_entry(path) for role, path in files.items()},
        layers=tuple(AcceleratorLayerEntry(**asdict(row)) for row in program.layers),
    )


def _port_entry(port: TensorPort, name: str, layout: Layout) -> QuantizedPortEntry:
    order = to_caller_layout(layout, len(port.shape))
    return QuantizedPortEntry(
        name=name,
        shape=tuple(port.shape[axis] for axis in order),
        layout="NCHW" if layout == "NCHW" and len(port.shape) == 4 else "NHWC",
        dram_address=port.dram_address,
        scale=port.affine.scale,
        zero_point=port.affine.zero_point,
    )
