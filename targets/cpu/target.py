"""The part of a CPU target that does not depend on the instruction set."""

from dataclasses import dataclass
from typing import Literal

from mnv3c.graph.errors import UserError
from mnv3c.graph.tensor import Layout, TensorType
from mnv3c.targets.cpu.border import border
from mnv3c.targets.cpu.depthwise import DepthwiseFamily
from mnv3c.targets.cpu.direct import DirectFamily
from mnv3c.targets.cpu.elementwise import ElementwiseFamily
from mnv3c.targets.cpu.fusion import RowPipelineFamily
from mnv3c.targets.cpu.gated import GatedGemmFamily
from mnv3c.targets.cpu.gemm import GemmFamily
from mnv3c.targets.cpu.lanes import device_lanes, storage_elements
from mnv3c.targets.cpu.pool import PoolFamily
from mnv3c.targets.cpu.reshape import ReshapeFamily
from mnv3c.targets.cpu.softmax import SoftmaxFamily
from mnv3c.targets.cpu.traced import Traced, traced
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import BorderWork, Candidate, Family, GroupFamily, LayerWork, OperatingSystem
from mnv3c.targets.toolchain import Toolchain

# The oldest glibc that a library shall run on: Debian 10, Ubuntu 18.10, RHEL 8.
_GLIBC = "2.28"
# LLVM's names of the extensions that convert vectors of float16, one of which is needed; Armv8-A itself has FCVTL.
_HALF_CONVERSIONS = {"x86_64": ("f16c",), "aarch64": (), "riscv64": ("zvfhmin", "zvfh")}


@dataclass(frozen=True)
class CpuTarget:
    """A CPU described by its names; `llvm_abi` where the architecture has more than one calling convention.

    `glibc` is the oldest version that a library shall run on, which cannot be older than the architecture's first.
    """

    name: str
    architecture: Literal["x86_64", "aarch64", "riscv64"]
    llvm_abi: str | None = None
    glibc: str = _GLIBC

    def families(self) -> tuple[Family, ...]:
        """Matrix products first: a 1x1 convolution is also a direct convolution."""
        return (
            GemmFamily(),
            DepthwiseFamily(),
            DirectFamily(),
            PoolFamily(),
            ElementwiseFamily(),
            ReshapeFamily(),
            SoftmaxFamily(),
        )

    def groups(self) -> tuple[GroupFamily, ...]:
        """Layers fused by rows, and gates into the products that follow them."""
        return (RowPipelineFamily(), GatedGemmFamily())

    def traced(self, work: LayerWork, device: CpuDevice, trace: str = "") -> Traced | None:
        """Rows of padded channels, as the kernels have them."""
        return traced(work, device, trace)

    def border(self, work: BorderWork, device: CpuDevice) -> Candidate:
        """A copy between the caller's layout and stored rows."""
        return border(work, device)

    def storage_elements(self, tensor: TensorType, device: CpuDevice) -> int:
        """Rows of padded channels."""
        return storage_elements(tensor, device)

    def dense(self, tensor: TensorType, device: CpuDevice, layout: Layout) -> bool:
        """True when no channel is padding, and channels come last or there is one position or one channel."""
        unpadded = device_lanes(device).stored(tensor.channels) == tensor.channels
        return unpadded and (layout == "NHWC" or tensor.spatial == (1, 1) or tensor.channels == 1)

    def require_half_weights(self, device: CpuDevice) -> None:
        """Raise UserError for a device without an instruction that converts vectors of float16."""
        import tvm

        needed = _HALF_CONVERSIONS[self.architecture]
        found = set(map(str, tvm.target.codegen.llvm_get_cpu_features(tvm.target.Target(self.llvm_target(device)))))
        if needed and found.isdisjoint(needed):
            raise UserError(
                f"device '{device.name}' cannot convert fp16 weights: its llvm.cpu and llvm.features have no"
                f" {' or '.join(needed)}; fp32 is allowed"
            )

    def toolchain(self, device: CpuDevice, operating_system: OperatingSystem) -> Toolchain:
        """Zig's triples. A library for Android takes its libc from the device."""
        static = f"{self.architecture}-linux-musl"
        android = operating_system == "android"
        return Toolchain(static if android else f"{self.architecture}-linux-gnu.{self.glibc}", static, android=android)

    def llvm_target(self, device: CpuDevice) -> dict[str, object]:
        """TVM's LLVM target."""
        target: dict[str, object] = {
            "kind": "llvm",
            "mtriple": f"{self.architecture}-linux-gnu",
            "mcpu": device.llvm.cpu,
        }
        if device.llvm.features:
            target["mattr"] = list(device.llvm.features)
        if self.llvm_abi:
            target["mabi"] = self.llvm_abi
        return target
