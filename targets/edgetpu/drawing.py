"""A drawing of an accelerator in text: array, vector unit, SRAM banks and DRAM with their numbers, all from data."""

from mnv3c.targets.boxes import WIDTH, box, chained, link, side_by_side
from mnv3c.targets.edgetpu.device import AcceleratorDevice, BlockArray, SystolicArray
from mnv3c.targets.units import format_bytes, format_bytes_per_s, format_hertz

_INNER = WIDTH - 8
# Cells of a grid at most; of a larger array each cell stands for several elements.
_GRID_ROWS, _GRID_COLUMNS = 8, 30
_BANKS_DRAWN = 4
STATIONARY = {"os": "outputs stay", "ws": "weights stay", "is": "inputs stay"}
_DEPTHWISE = {
    "diagonal_ws": "depthwise: the taps of each channel in a column of its own",
    "vector": "depthwise: on the vector unit",
    "per_channel": "depthwise: one product a channel",
}


def draw(device: AcceleratorDevice) -> str:
    """Draw the device with box-drawing characters, 72 columns wide, without a line break at the end."""
    lines = [
        f"{device.name}: {device.title}",
        *box(f"{_title(device.array)}, {format_hertz(device.clock_hz)}", _chip(device), WIDTH),
        *chained([_dram(device)]),
    ]
    return "\n".join(line.rstrip() for line in lines)


def shape(array: SystolicArray | BlockArray) -> str:
    """The MACs of an array, `64 x 64`, or of a block, `2 x 2 x 8 x 8`."""
    if isinstance(array, SystolicArray):
        return f"{array.rows} x {array.cols}"
    return f"{array.block_height} x {array.block_width} x {array.block_depth} x {array.input_depth}"


def _title(array: SystolicArray | BlockArray) -> str:
    if isinstance(array, SystolicArray):
        return f"{array.rows} x {array.cols} MACs"
    return f"{array.block_height} x {array.block_width} x {array.block_depth} outputs x {array.input_depth} MACs"


def _chip(device: AcceleratorDevice) -> list[str]:
    array = device.array
    return [
        *_array(array),
        f"{array.macs_per_cycle} MACs a cycle, peak {device.peak_ops / 1e12:.3g} TOPS in int8",
        _DEPTHWISE.get(array.depthwise, f"depthwise: {array.depthwise_macs_per_cycle} MACs a cycle"),
        link(f"▼ {_sums(device)}"),
        *box("", [_vector(device)], _INNER),
        _sram_link(device),
        *_sram(device),
    ]


def _sums(device: AcceleratorDevice) -> str:
    if isinstance(device.array, SystolicArray):
        sums = device.array.accumulator_bytes
        return f"sums: {'no limit' if sums is None else format_bytes(sums)}"
    assert device.blocks is not None  # the device's check
    cores = f"{device.blocks.cores} x " if device.blocks.cores > 1 else ""
    return f"blocks: {cores}{format_bytes(device.blocks.buffer_bytes)}"


def _array(array: SystolicArray | BlockArray) -> list[str]:
    if isinstance(array, SystolicArray):
        grid, tall, wide = _grid(array.rows, array.cols)
        title = STATIONARY[array.dataflow]
    else:
        grid, tall, wide = _grid(array.block_height, array.block_width * array.block_depth)
        title = f"outputs stay, {array.input_depth} products a cycle in each"
    cell = "one element" if tall == wide == 1 else f"{tall} x {wide} elements"
    return [*box(title, grid, _INNER), f"each ■ is {cell}"]


def _grid(rows: int, columns: int) -> tuple[list[str], int, int]:
    """The lines of a grid, and how many rows and columns of elements one cell stands for (fewer at the edge)."""
    tall, wide = _per_cell(rows, _GRID_ROWS), _per_cell(columns, _GRID_COLUMNS)
    return [" ".join("■" * -(-columns // wide))] * -(-rows // tall), tall, wide


def _per_cell(elements: int, cells: int) -> int:
    """As few elements a cell as the grid allows, and the same number in every cell where that takes at most twice."""
    fewest = -(-elements // cells)
    return next((each for each in range(fewest, 2 * fewest + 1) if elements % each == 0), fewest)


def _vector(device: AcceleratorDevice) -> str:
    lanes, output_lanes = device.vector.lanes, device.vector.output_lanes
    requantised = "sums leave free of charge" if output_lanes is None else f"{output_lanes} sums requantised a cycle"
    return f"vector unit: {'free of charge' if lanes is None else f'{lanes} int8 a cycle'}; {requantised}"


def _sram_link(device: AcceleratorDevice) -> str:
    rate = device.memory.sram_bytes_per_cycle
    return link(f"▲▼ {'no limit' if rate is None else f'{rate} B/cycle'}")


def _sram(device: AcceleratorDevice) -> list[str]:
    memory = device.memory
    if memory.sram_bytes is None:
        return box("", ["SRAM without limit"], _INNER)
    kept = "activations and pinned weights" if memory.pins_weights else "activations"
    passing = "tiles" if device.blocks is None else "weights on their way"
    use = f"{memory.tile_fraction:.3g} for {passing}, rest for {kept}"
    return box(f"SRAM {format_bytes(memory.sram_bytes)}", [use, *_banks(memory.sram_bytes, memory.sram_banks)], _INNER)


def _banks(sram_bytes: int, banks: int | None) -> list[str]:
    if banks is None:
        return []
    size = format_bytes(sram_bytes // banks)
    if 1 < banks <= _BANKS_DRAWN:
        return side_by_side(banks, size)
    return [f"{banks} banks of {size}" if banks > 1 else "one bank"]


def _dram(device: AcceleratorDevice) -> str:
    rate, latency = device.memory.dram_bytes_per_s, device.memory.dram_latency_cycles
    if rate is None:
        return "DRAM that nobody waits for"
    return f"DRAM {format_bytes_per_s(rate)} ({rate / device.clock_hz:.3g} B/cycle), {latency} cycles away"
