"""Executes a command stream: a network as the accelerator computes it, byte for byte.

Every command reads and writes the addresses that it names and nothing else, so a wrong address gives a wrong result
just as on a chip. What happens between two memories is exact integer arithmetic; see `execute_command`. The time that
this takes says nothing about the accelerator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.affine import Int8Array
from mnv3c.targets.edgetpu.commands import Command, CommandStream, Launch, Memory, Port, Resume
from mnv3c.targets.edgetpu.execute_command import execute_command
from mnv3c.targets.edgetpu.memories import AccessError, Bank, Bytes, Memories


@dataclass(frozen=True, eq=False)
class Accelerator:
    """An accelerator that holds a network: its stream, and memories in which the weights are in place."""

    stream: CommandStream
    memories: Memories

    @classmethod
    def holding(cls, stream: CommandStream, image: Bytes) -> "Accelerator":
        """Put the image at the start of DRAM and execute the stream's setup.

        Raises UserError for an image that does not fit; AccessError for a command that reaches beyond a memory.
        """
        if image.size > stream.dram_bytes:
            raise UserError(f"the image has {image.size} bytes, the DRAM of '{stream.network}' {stream.dram_bytes}")
        dram = np.zeros(stream.dram_bytes, np.uint8)
        dram[: image.size] = image
        memories = Memories(
            Bank("dram", dram),
            _empty("sram", stream.sram_bytes),
            _empty("accumulators", stream.accumulator_bytes),
            _empty("parameters", stream.parameter_bytes),
            stream.rounding,
        )
        _execute_all(stream, stream.setup, memories)
        return cls(stream, memories)

    def run(self, inputs: Mapping[str, Int8Array]) -> dict[str, Int8Array]:
        """One inference: inputs by name to outputs by name. Raises UserError for inputs that do not fit."""
        names = [port.name for port in self.stream.inputs]
        if set(inputs) != set(names):
            raise UserError(f"network '{self.stream.network}' takes {', '.join(names)}, not {', '.join(inputs)}")
        for port in self.stream.inputs:
            _put(self.memories.dram, port, inputs[port.name])
        _execute_all(self.stream, self.stream.commands, self.memories)
        return {port.name: _got(self.memories.dram, port) for port in self.stream.outputs}


def execute(stream: CommandStream, image: Bytes, inputs: Mapping[str, Int8Array]) -> dict[str, Int8Array]:
    """One inference on an accelerator that has just been set up. Raises UserError, AccessError."""
    return Accelerator.holding(stream, image).run(inputs)


def _empty(name: Memory, size: int) -> Bank:
    return Bank(name, np.zeros(size, np.uint8))


def _put(dram: Bank, port: Port, values: Int8Array) -> None:
    if values.shape != port.shape or values.dtype != np.int8:
        raise UserError(f"input '{port.name}' is int8 {list(port.shape)}, not {values.dtype} {list(values.shape)}")
    flat = np.ascontiguousarray(values).view(np.uint8).ravel()
    dram.write_words(port.dram, flat)


def _got(dram: Bank, port: Port) -> Int8Array:
    return dram.words(port.dram, int(np.prod(port.shape)), np.int8).reshape(port.shape)


def _execute_all(stream: CommandStream, commands: Sequence[Command], memories: Memories) -> None:
    layer = "setup"
    for number, command in enumerate(commands):
        if isinstance(command, Launch | Resume):
            layer = command.layer
        try:
            execute_command(command, memories)
        except AccessError as error:
            opcode = type(command).__name__.lower()
            raise AccessError(f"'{stream.network}', layer '{layer}', command {number} ({opcode}): {error}") from None
