"""What mobile GPUs have in common as targets: kernel families, storage, how kernels become OpenCL C."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mnv3c.graph.tensor import Layout, TensorType
from mnv3c.targets.gpu.border import Border, border
from mnv3c.targets.gpu.builder import LANES
from mnv3c.targets.gpu.concat import ConcatFamily
from mnv3c.targets.gpu.depthwise import DepthwiseFamily
from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.direct import DirectFamily
from mnv3c.targets.gpu.elementwise import ElementwiseFamily
from mnv3c.targets.gpu.global_pool import GlobalPoolFamily
from mnv3c.targets.gpu.kernel import GpuCandidate
from mnv3c.targets.gpu.limits import require_allocatable, require_arithmetic, require_launchable
from mnv3c.targets.gpu.opencl import KernelSource, kernel_source
from mnv3c.targets.gpu.packing import dense_tensor, stored_tensor
from mnv3c.targets.gpu.pointwise import PointwiseFamily
from mnv3c.targets.gpu.pool import PoolFamily
from mnv3c.targets.gpu.precision import Float, Precision
from mnv3c.targets.gpu.resize import ResizeFamily
from mnv3c.targets.gpu.row_product import RowProductFamily
from mnv3c.targets.gpu.softmax import SoftmaxFamily
from mnv3c.targets.gpu.tensors import storage_elements
from mnv3c.targets.gpu.transposed import TransposedFamily
from mnv3c.targets.gpu.work_groups import with_work_groups
from mnv3c.targets.target import Array, BorderWork, Packed

GpuFamily = (
    RowProductFamily
    | PointwiseFamily
    | DepthwiseFamily
    | DirectFamily
    | TransposedFamily
    | GlobalPoolFamily
    | PoolFamily
    | ElementwiseFamily
    | ConcatFamily
    | ResizeFamily
    | SoftmaxFamily
)


@dataclass(frozen=True)
class GpuTarget:
    """A vendor's GPUs. `precision` is how numbers lie in memory and are computed with."""

    name: str
    precision: Precision = field(default_factory=Precision)

    def with_storage(self, storage: Float, arithmetic: Float = "fp32") -> "GpuTarget":
        """The same target with other numbers in memory."""
        return replace(self, precision=Precision(storage, arithmetic))

    def families(self) -> tuple[GpuFamily, ...]:
        """Products of single rows first: they are also 1x1 convolutions, and those direct ones."""
        kinds = (
            RowProductFamily,
            PointwiseFamily,
            DepthwiseFamily,
            DirectFamily,
            TransposedFamily,
            GlobalPoolFamily,
            PoolFamily,
            ElementwiseFamily,
            ConcatFamily,
            ResizeFamily,
            SoftmaxFamily,
        )
        return tuple(kind(self.precision) for kind in kinds)

    def groups(self) -> tuple[()]:
        """No layers are fused beyond what the graph's passes do."""
        return ()

    def border(self, work: BorderWork, device: GpuDevice) -> Border:
        """A copy between the caller's layout and stored slices."""
        return border(work, self.precision, device)

    def storage_elements(self, tensor: TensorType, device: GpuDevice) -> int:
        """Values, of `precision.storage_bytes` each, that a stored tensor takes."""
        return storage_elements(tensor)

    def stored(self, x: Array) -> Packed:
        """A tensor in the IR's order as it is stored, flat; lanes of padding are large."""
        return stored_tensor(x, self.precision)

    def unstored(self, values: Packed, tensor: TensorType) -> Array:
        """The tensor, in the IR's order, that stored values hold."""
        return dense_tensor(values, tensor)

    def dense(self, tensor: TensorType, device: GpuDevice, layout: Layout) -> bool:
        """True for float32 slices that lie as the caller's tensor does: of one pixel, or one slice in NHWC."""
        if self.precision.storage != "fp32" or tensor.channels % LANES:
            return False
        return tensor.spatial == (1, 1) or (layout == "NHWC" and tensor.channels == LANES)

    def kernel_source(self, candidate: GpuCandidate, symbol: str, device: GpuDevice) -> KernelSource:
        """A candidate's kernel as OpenCL C. Imports TVM."""
        return kernel_source(candidate, symbol, device)

    def tunable(self, candidates: Sequence[GpuCandidate], device: GpuDevice) -> tuple[GpuCandidate, ...]:
        """A layer's candidates that the device allows, and the same with other work-groups. Raises UserError."""
        return with_work_groups(candidates, device)

    def require_launchable(self, candidate: GpuCandidate, device: GpuDevice) -> None:
        """Raise UserError for a kernel whose work-group, local memory or arithmetic the device does not allow."""
        require_launchable(candidate, device)
        require_arithmetic(candidate, device)

    def require_allocatable(self, what: str, size_bytes: int, device: GpuDevice) -> None:
        """Raise UserError for a buffer that is larger than the device's driver makes one."""
        require_allocatable(what, size_bytes, device)
