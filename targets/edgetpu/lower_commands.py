"""Spells a plan out: a quantised network as the commands of an accelerator, and what its DRAM begins with.

Every tile of the plan becomes one command of the array for each part of its depth, in the plan's order, with the loads
before and the vector unit's commands behind it. Neighbouring layers use the two halves of the tile buffers in turn.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import cycle

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.network import IntegerNetwork
from mnv3c.targets.edgetpu.commands import Address, Command, CommandStream, Launch, Load, Port, Resume, Size, Slab
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.dram_layout import DramLayout, dram_layout
from mnv3c.targets.edgetpu.fused_strips import strips_of
from mnv3c.targets.edgetpu.layer_buffers import layer_buffers
from mnv3c.targets.edgetpu.lower_layer import LayerCommands, PlacedLayer
from mnv3c.targets.edgetpu.lower_work import outputs_of
from mnv3c.targets.edgetpu.memories import Bytes
from mnv3c.targets.edgetpu.plan import GroupPlan, LayerPlan, Plan
from mnv3c.targets.edgetpu.regions import Place, Positions
from mnv3c.targets.edgetpu.tile_buffers import Turns

ACCUMULATOR_BYTES = 4


@dataclass(frozen=True, eq=False)
class LoweredNetwork:
    """A network's commands, the bytes that its DRAM begins with, and where each activation lies."""

    stream: CommandStream
    image: Bytes
    places: Mapping[str, Place]


def lower_commands(plan: Plan, network: IntegerNetwork, device: AcceleratorDevice) -> LoweredNetwork:
    """The commands of a plan. Raises UserError where the plan does not go with the network or the device."""
    layout = dram_layout(plan, network)
    lowering = _Lowering(plan, network, layout, device)
    setup = tuple(load for layer in plan.layers for load in lowering.pinned(layer))
    commands = tuple(command for turn, step in enumerate(plan.steps) for command in lowering.step(turn, step))
    graph, memory, array = network.graph, device.memory, device.systolic_array
    stream = CommandStream(
        network=graph.name,
        device=device.name,
        rounding=network.rounding,
        dram_bytes=Size(layout.size),
        sram_bytes=Size(
            max(lowering.sram_end, plan.peak_sram_bytes) if memory.sram_bytes is None else memory.sram_bytes
        ),
        accumulator_bytes=Size(max(lowering.accumulator_end, array.accumulator_bytes or 0)),
        parameter_bytes=Size(lowering.parameter_end),
        inputs=tuple(lowering.port(node.name, node.name) for node in graph.inputs),
        outputs=tuple(map(lowering.port, graph.outputs, outputs_of(graph))),
        setup=setup,
        commands=commands,
    )
    return LoweredNetwork(stream, layout.image, lowering.places)


@dataclass
class _Lowering:
    """What all steps share, and how far each memory is used."""

    plan: Plan
    network: IntegerNetwork
    layout: DramLayout
    device: AcceleratorDevice
    sram_end: int = 0
    accumulator_end: int = 0
    parameter_end: int = 0
    places: dict[str, Place] = field(init=False)

    def __post_init__(self) -> None:
        shapes = {layer.job.name: layer.job.output_shape for layer in self.plan.layers}
        self.places = dict(self.layout.tensors)
        for name, offset in self.plan.sram_offsets.items():
            if name in shapes:
                self.places[name] = Place("sram", offset, shapes[name])

    def port(self, name: str, source: str) -> Port:
        """An input or output `name`, which is the tensor `source`."""
        place = self._place(source, in_sram=False)
        return Port(name, self.network.graph.type_of(name).shape, Address(place.address), self.network.affine(name))

    def pinned(self, plan: LayerPlan) -> Iterator[Command]:
        """The loads of the weights that stay in the SRAM: one where all of them do."""
        constants = self.layout.constants[plan.job.name]
        sram = self.plan.sram_offsets.get(f"{plan.job.name}.weight", 0)
        tiles = constants.weights.tiles
        if tiles and not any(tile.loaded_bytes for tile in tiles):
            source = Slab.dense(constants.weights_dram, 1, 1, constants.weights.bytes)
            yield Load(source, replace(source, address=sram))
            return
        for tile in tiles:
            if tile.pinned_bytes:
                source = Slab.dense(constants.weights_dram + tile.offset, 1, 1, tile.pinned_bytes)
                yield Load(source, replace(source, address=sram + tile.pinned_offset))

    def step(self, turn: int, step: LayerPlan | GroupPlan) -> Iterator[Command]:
        """The commands of a layer, or of fused layers."""
        sram = self.device.memory.sram_bytes
        # What the plan leaves over may be used as well: it counts each depth tile's share of the biases, but all of
        # them come with the first.
        tile_bytes = self.plan.tile_bytes if sram is None else max(self.plan.tile_bytes, sram - self.plan.tile_offset)
        half = tile_bytes // 2
        base = self.plan.tile_offset + turn % 2 * half
        limit = None if sram is None else half
        if isinstance(step, GroupPlan):
            yield from self._group(step, base, limit)
        else:
            yield self._launch(step, 0)
            yield from self._layer(step, base, limit, 0).commands()

    def _group(self, group: GroupPlan, base: int, limit: int | None) -> Iterator[Command]:
        """All layers are launched, then come strip after strip, in each every layer's share."""
        strips, end = strips_of(group), None if limit is None else base + limit
        for layer in group.layers[:-1]:
            _, _, width, channels = layer.job.output_shape
            kept = strips.kept_rows[layer.job.name]
            self.places[layer.job.name] = Place("sram", base, layer.job.output_shape, ring=kept)
            base += kept * width * channels
        spelled: list[LayerCommands] = []
        parameters = 0
        for layer in group.layers:
            launch = self._launch(layer, parameters)
            spelled.append(self._layer(layer, base, None if end is None else end - base, parameters))
            base, parameters = spelled[-1].turns.buffers.end, parameters + launch.length
            yield launch
        for strip in strips.rows:
            for layer, rows, commands in zip(group.layers, strip, spelled, strict=True):
                if rows.size:
                    yield Resume(layer.job.name)
                    yield from commands.commands(rows)

    def _layer(self, plan: LayerPlan, base: int, limit: int | None, parameters: int) -> LayerCommands:
        """A layer with its tile buffers from `base` on."""
        buffers = layer_buffers(plan, self.layout.constants[plan.job.name].weights, base, limit)
        self.sram_end = max(self.sram_end, buffers.end)
        return LayerCommands(self._placed(plan, parameters), Turns(buffers), self._accumulators(plan))

    def _launch(self, plan: LayerPlan, parameters: int) -> Launch:
        """The launch of a layer whose block goes to this address of the vector unit's parameters."""
        constants = self.layout.constants[plan.job.name]
        length = len(constants.parameters.data)
        self.parameter_end = max(self.parameter_end, parameters + length)
        return Launch(plan.job.name, Address(constants.parameters_dram), Address(parameters), Size(length))

    def _placed(self, plan: LayerPlan, parameters: int) -> PlacedLayer:
        job, constants = plan.job, self.layout.constants[plan.job.name]
        second = None if job.second is None else self._place(job.second, in_sram=plan.second_in_sram)
        return PlacedLayer(
            plan,
            self.network.layers[job.name],
            constants.weights,
            constants.parameters,
            self._place(job.input, in_sram=plan.input_in_sram),
            second,
            self._place(job.name, in_sram=plan.output_in_sram),
            constants.weights_dram,
            self.plan.sram_offsets.get(f"{job.name}.weight", 0),
            parameters,
        )

    def _place(self, name: str, *, in_sram: bool) -> Place:
        place = self.places.get(name)
        memory = "sram" if in_sram else "dram"
        if place is None or place.memory != memory:
            raise UserError(f"plan of '{self.network.graph.name}': tensor '{name}' is not in {memory.upper()}")
        return place

    def _accumulators(self, plan: LayerPlan) -> Iterator[int]:
        """The addresses of one tile's sums after another: two take turns where there is room."""
        job, tiling = plan.job, plan.tiling
        positions = Positions.of(job)
        area = 1 if job.reads_whole else min(tiling.rows, positions.rows) * min(tiling.columns, positions.columns)
        size = ACCUMULATOR_BYTES * area * min(tiling.channels, job.output_shape[3])
        room = self.device.systolic_array.accumulator_bytes
        addresses = (0, size) if room is None or 2 * size <= room else (0,)
        self.accumulator_end = max(self.accumulator_end, size * len(addresses))
        return cycle(addresses)
