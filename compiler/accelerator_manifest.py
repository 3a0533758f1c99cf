"""manifest.yaml of a network that was compiled for an accelerator."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt, field_validator

from mnv3c.compiler.manifest import FileEntry, PortEntry, PreprocessingEntry
from mnv3c.graph.integer.ops import Rounding

ACCELERATOR_FORMAT = "mnv3c-accelerator/1"
ROLES = ("commands", "image", "tflite")


class QuantizedPortEntry(PortEntry):
    """An input or output, in the caller's order: real = scale * (int8 - zero_point), from `dram_address` on.

    In DRAM a tensor lies in the IR's order, channels last.
    """

    dram_address: NonNegativeInt
    scale: FiniteFloat
    zero_point: int


class AcceleratorLayerEntry(BaseModel):
    """One layer; shapes are (batch, height, width, channels), `tile` rows, columns, channels and depth."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    kind: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    macs: int
    weights_bytes: int
    tile: tuple[int, int, int, int]
    order: str
    commands: int
    dram_read_bytes: int
    dram_write_bytes: int
    output_memory: str
    output_address: int


class AcceleratorManifest(BaseModel):
    """The document. `settings` are the device's keys that were overridden, `memory` sizes in bytes.

    `calibration` says what the activations' ranges were chosen by, or that they came with the model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal["mnv3c-accelerator/1"]
    name: str
    versions: dict[str, str]
    target: str
    device: str
    device_sha256: str
    settings: dict[str, str]
    rounding: Rounding
    calibration: str
    input: QuantizedPortEntry
    outputs: tuple[QuantizedPortEntry, ...]
    preprocessing: PreprocessingEntry | None
    memory: dict[str, int]
    files: dict[str, FileEntry]
    layers: tuple[AcceleratorLayerEntry, ...]

    @field_validator("files")
    @classmethod
    def _require_files(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        if set(files) != set(ROLES):
            raise ValueError(f"must be {', '.join(ROLES)}")
        return files
