"""What records made through PoCL are of: a GPU's kernels on a CPU, which never pass for the GPU's own."""

from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

from mnv3c.compiler.cache import content_key
from mnv3c.compiler.opencl.target import OpenClTarget, StoredAs
from mnv3c.compiler.tune.session import host_title
from mnv3c.compiler.tune.store import user_records_folder
from mnv3c.targets.base_device import Device

POCL_CLASS = "pocl:"


@dataclass(frozen=True)
class PoclDevice:
    """The kernels that are shaped for `gpu`, with numbers in memory as `precision` says, run by `cpu` through PoCL."""

    gpu: Device
    precision: StoredAs
    cpu: str

    @staticmethod
    def here(target: OpenClTarget[Any], gpu: Device) -> "PoclDevice":
        """Run by this machine's CPU."""
        return PoclDevice(gpu, target.precision, host_title())

    @property
    def name(self) -> str:
        """The GPU's."""
        return self.gpu.name

    @property
    def target(self) -> str:
        """The GPU's."""
        return self.gpu.target

    @property
    def device_class(self) -> str:
        """Records of another CPU are better than none; those of numbers that lie otherwise in memory say nothing."""
        return f"{POCL_CLASS}{self.precision.storage}-{self.precision.arithmetic}"

    @cached_property
    def fingerprint(self) -> str:
        """Of the GPU's description, the numbers in memory, and the CPU."""
        return content_key("pocl", self.gpu.fingerprint, self.device_class, self.cpu)

    @property
    def cores(self) -> int:
        """PoCL shares every kernel out among the cores itself."""
        return 1

    @property
    def peak_flops(self) -> float:
        """Unknown: the CPU's vectors are PoCL's affair."""
        return inf

    @property
    def title(self) -> str:
        """Where kernels run."""
        return f"PoCL ({self.cpu})"

    @property
    def label(self) -> str:
        """What must stand beside every time."""
        return f"measured on {self.title}, no GPU's latency"

    @property
    def records_path(self) -> Path:
        """The user's own records, apart from those of any device."""
        return user_records_folder() / f"{self.name}.pocl.jsonl"
