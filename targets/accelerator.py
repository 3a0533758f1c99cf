"""What the target of an accelerator offers to the compiler: it takes quantised networks, and emulates its machine.

The compiler knows no accelerator by name. A target that is one has a module `backend` with a function `backend`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.affine import Affine, Int8Array
from mnv3c.graph.integer.network import IntegerNetwork
from mnv3c.targets.base_device import Device
from mnv3c.targets.registry import device_paths

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class TensorPort:
    """An input or output: an int8 tensor in the IR's order, from the address `dram_address` on."""

    name: str
    shape: tuple[int, ...]
    dram_address: int
    affine: Affine


@dataclass(frozen=True)
class LayerRow:
    """What became of one layer: its commands, what they move between DRAM and SRAM, and where its output lies.

    `tile` are rows, columns, channels and depth of its tiles.
    """

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


@dataclass(frozen=True, eq=False)
class AcceleratorProgram:
    """A network for an accelerator: its commands as text, and the bytes that its DRAM begins with.

    `memory` has sizes in bytes: `dram_bytes`, `sram_bytes`, `peak_sram_bytes`, `peak_activation_bytes` (of the
    activations that stay in the SRAM), `weights_bytes`, `pinned_weights_bytes`.
    """

    commands: str
    image: Bytes
    inputs: tuple[TensorPort, ...]
    outputs: tuple[TensorPort, ...]
    memory: Mapping[str, int]
    layers: tuple[LayerRow, ...]


class LoadedProgram(Protocol):
    """A program in an emulated accelerator."""

    @property
    def inputs(self) -> tuple[TensorPort, ...]:
        """What it takes."""

    @property
    def outputs(self) -> tuple[TensorPort, ...]:
        """What it gives."""

    def run(self, inputs: Mapping[str, Int8Array]) -> dict[str, Int8Array]:
        """One inference, by name. Raises UserError for inputs that do not fit."""


class AcceleratorBackend(Protocol):
    """Compiles for a family of accelerators, and emulates them."""

    def lower(self, network: IntegerNetwork, device: Device) -> AcceleratorProgram:
        """The network's program. Raises UserError for a device of another kind or what it has no commands for."""

    def load(self, commands: str, source: str, image: Bytes) -> LoadedProgram:
        """Read the commands (from the file `source`) and put the image in place. Raises UserError."""


def is_accelerator(target: str) -> bool:
    """Whether a target is made for quantised networks. Raises UserError for an unknown one."""
    device_paths(target)
    return find_spec(f"mnv3c.targets.{target}.backend") is not None


def load_backend(target: str) -> AcceleratorBackend:
    """The backend of a target. Raises UserError for a target that is no accelerator."""
    if not is_accelerator(target):
        raise UserError(f"target '{target}' is no accelerator")
    return cast(AcceleratorBackend, import_module(f"mnv3c.targets.{target}.backend").backend())
