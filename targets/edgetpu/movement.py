"""What a layer moves and computes under its plan: counts for the energy model, from the same tiles as the timeline."""

from mnv3c.targets.edgetpu.candidate import Work
from mnv3c.targets.edgetpu.emulation import Movement
from mnv3c.targets.edgetpu.layer_view import ACCUMULATOR_BYTES
from mnv3c.targets.edgetpu.machine import Machine
from mnv3c.targets.edgetpu.work import Job


def movement(machine: Machine, job: Job, work: Work) -> Movement:
    """Counts of one layer.

    Operands count as often as the array takes them from the SRAM, so an input once for each tap that reads it. Every
    output is requantised once and then takes the job's passes. Each part of a sum in depth is read and written once.
    """
    outputs = _elements(job.output_shape)
    read, written = work.dram_read_bytes, work.dram_write_bytes
    beside = sum(_elements(shape) for _, shape in job.further)
    beside += _elements(job.second_shape) if job.second_shape is not None else 0
    vector = job.kind == "vector"
    by_vector = vector or (job.kind == "depthwise" and machine.array.depthwise == "vector")
    operations = (_elements(job.input_shape) if job.reads_whole else outputs) * job.passes
    return Movement(
        macs=job.macs,
        vector_operations=operations + (0 if vector else outputs) + (job.macs if by_vector else 0),
        array_sram_read_bytes=0 if by_vector else work.operand_bytes,
        array_sram_write_bytes=0 if by_vector else outputs,
        vector_sram_read_bytes=(work.operand_bytes if by_vector else 0) + beside,
        vector_sram_write_bytes=outputs if by_vector else 0,
        dma_sram_bytes=read + written,
        dram_read_bytes=read,
        dram_write_bytes=written,
        accumulator_bytes=0 if by_vector else outputs * ACCUMULATOR_BYTES * 2 * work.depths,
    )


def _elements(shape: tuple[int, int, int, int]) -> int:
    batch, height, width, channels = shape
    return batch * height * width * channels
