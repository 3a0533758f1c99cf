"""What records and the search know of a device, whatever its kind."""

from typing import Protocol


class TunedDevice(Protocol):
    """A device whose kernels are measured."""

    @property
    def name(self) -> str:
        """As in `--device`."""

    @property
    def target(self) -> str:
        """As in `--target`."""

    @property
    def device_class(self) -> str:
        """Devices of one target and class share records."""

    @property
    def fingerprint(self) -> str:
        """Of everything that a time depends on; in hex."""

    @property
    def cores(self) -> int:
        """How many threads can compute at once."""

    @property
    def peak_flops(self) -> float:
        """Floating-point operations per second of one core in fp32, a multiply-add counted as two."""
