"""The edge TPU as the compiler sees it: plans and lowers quantised networks, and executes their commands."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from mnv3c.graph.integer.affine import Int8Array
from mnv3c.graph.integer.network import IntegerNetwork
from mnv3c.targets.accelerator import AcceleratorBackend, AcceleratorProgram, LayerRow, LoadedProgram, TensorPort
from mnv3c.targets.base_device import Device
from mnv3c.targets.device import of_kind
from mnv3c.targets.edgetpu.command_text import format_stream, parse_stream
from mnv3c.targets.edgetpu.commands import Command, CommandStream, Launch, Load, Port, Resume, Store
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.execute import Accelerator
from mnv3c.targets.edgetpu.lower_commands import LoweredNetwork, lower_commands
from mnv3c.targets.edgetpu.lower_work import jobs_of, outputs_of
from mnv3c.targets.edgetpu.memories import Bytes
from mnv3c.targets.edgetpu.plan import Plan
from mnv3c.targets.edgetpu.planner import plan


def backend() -> AcceleratorBackend:
    """The backend of this target."""
    return EdgeTpuBackend()


@dataclass(frozen=True)
class EdgeTpuBackend:
    """Lowers by `planner.plan` and `lower_commands`; emulates by `execute`."""

    def lower(self, network: IntegerNetwork, device: Device) -> AcceleratorProgram:
        accelerator = of_kind(device, AcceleratorDevice)
        chosen = plan(jobs_of(network.graph), outputs_of(network.graph), accelerator)
        lowered = lower_commands(chosen, network, accelerator)
        stream = lowered.stream
        return AcceleratorProgram(
            format_stream(stream),
            lowered.image,
            tuple(map(_port, stream.inputs)),
            tuple(map(_port, stream.outputs)),
            _memory(chosen, stream),
            _layer_rows(chosen, lowered),
        )

    def load(self, commands: str, source: str, image: Bytes) -> LoadedProgram:
        return _Loaded(Accelerator.holding(parse_stream(commands, source), image))


@dataclass(frozen=True)
class _Loaded:
    accelerator: Accelerator

    @property
    def inputs(self) -> tuple[TensorPort, ...]:
        return tuple(map(_port, self.accelerator.stream.inputs))

    @property
    def outputs(self) -> tuple[TensorPort, ...]:
        return tuple(map(_port, self.accelerator.stream.outputs))

    def run(self, inputs: Mapping[str, Int8Array]) -> dict[str, Int8Array]:
        return self.accelerator.run(inputs)


def _port(port: Port) -> TensorPort:
    return TensorPort(port.name, port.shape, port.dram, port.affine)


def _memory(chosen: Plan, stream: CommandStream) -> dict[str, int]:
    kept = [layer.job for layer in chosen.layers if layer.job.name in chosen.sram_offsets]
    ends = (chosen.sram_offsets[job.name] + prod(job.output_shape) for job in kept)
    return {
        "dram_bytes": stream.dram_bytes,
        "sram_bytes": stream.sram_bytes,
        "peak_sram_bytes": chosen.peak_sram_bytes,
        "peak_activation_bytes": max(ends, default=0),
        "weights_bytes": sum(layer.job.weight_bytes for layer in chosen.layers),
        "pinned_weights_bytes": sum(layer.pinned_weight_bytes for layer in chosen.layers),
    }


def _layer_rows(chosen: Plan, lowered: LoweredNetwork) -> tuple[LayerRow, ...]:
    places, by_layer = lowered.places, commands_by_layer(lowered.stream.commands)
    rows: list[LayerRow] = []
    for layer in chosen.layers:
        job, tiling, commands = layer.job, layer.tiling, by_layer[layer.job.name]
        rows.append(
            LayerRow(
                name=job.name,
                kind=job.op.kind,
                input_shape=job.input_shape,
                output_shape=job.output_shape,
                macs=job.macs,
                weights_bytes=job.weight_bytes,
                tile=(tiling.rows, tiling.columns, tiling.channels, tiling.depth),
                order=tiling.order,
                commands=len(commands),
                dram_read_bytes=sum(command.dram.elements for command in commands if isinstance(command, Load)),
                dram_write_bytes=sum(command.dram.elements for command in commands if isinstance(command, Store)),
                output_memory=places[job.name].memory,
                output_address=places[job.name].address,
            )
        )
    return tuple(rows)


def commands_by_layer(commands: tuple[Command, ...]) -> dict[str, list[Command]]:
    """Each layer's commands in one inference, with the marks of where it begins and goes on."""
    found: dict[str, list[Command]] = {}
    layer = ""
    for command in commands:
        layer = command.layer if isinstance(command, Launch | Resume) else layer
        found.setdefault(layer, []).append(command)
    return found
