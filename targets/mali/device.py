"""The model of the device files in this folder."""

from mnv3c.targets.gpu.device import GpuDevice

MODEL = GpuDevice
