"""How an engine like Arm's Ethos-U goes through a layer: what its timing needs beyond the array's shape."""

from typing import Annotated

from pydantic import Field

from mnv3c.targets.base_device import Bytes, Frozen

Count = Annotated[int, Field(gt=0, le=1 << 16)]
CyclesPerElement = Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)]


class BlockEngine(Frozen):
    """Blocks of outputs in local buffers, computed step by step, and rates by the kind of output.

    `cores` share the output channels; `array.block_depth` counts those of all of them. A step takes `step_cycles` and
    sums `step_cycles` x `array.input_depth` products in each output of a core's part of the array; the decoder gives
    each core `weights_decoded_per_cycle`.

    A block of outputs is at most `largest_height` x `largest_width` x `largest_depth`, and for a convolution
    `convolution_depth` deep. Its input and its accumulators lie, twice each, in `buffer_bytes` of banks of
    `buffer_bank_bytes`, handed out in granules of so many banks.

    `..._cycles` are cycles an output element, all cores together: of a sum, of a product, and of the int32 product that
    ends a mean. (Plain outputs leave at `vector.output_lanes` a cycle, through a table at `vector.lanes`.)

    Activations lie in bricks of `channel_brick` channels. The network's input and outputs are dense, in DRAM or in the
    SRAM by `image_in_dram`; they are read `image_piece_bytes` at a time, or a whole number of such pieces where a pixel
    has more channels, and each read takes a whole burst of the memory. Each output channel brings `bytes_per_channel`
    of bias and scale.
    """

    cores: Count
    step_cycles: Count
    weights_decoded_per_cycle: Count
    buffer_bytes: Bytes
    buffer_bank_bytes: Bytes
    input_granule_banks: Count
    accumulator_granule_banks: Count
    largest_height: Count
    largest_width: Count
    largest_depth: Count
    convolution_depth: Count
    sum_cycles: CyclesPerElement
    product_cycles: CyclesPerElement
    int32_product_cycles: CyclesPerElement
    channel_brick: Count
    sram_burst_bytes: Bytes
    dram_burst_bytes: Bytes
    image_in_dram: bool
    image_piece_bytes: Bytes
    bytes_per_channel: Bytes
