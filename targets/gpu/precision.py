"""How a kernel's numbers lie in memory, and what it computes with."""

from dataclasses import dataclass
from typing import Literal

Float = Literal["fp32", "fp16"]


@dataclass(frozen=True)
class Precision:
    """`storage` is the type of activations and weights in memory, `arithmetic` that of sums and activations.

    Halves that are only stored are converted by `vloada_half4` and `vstorea_half4_rte`, which every OpenCL has;
    arithmetic in halves needs the extension cl_khr_fp16. Biases are always float32, as are the caller's tensors.
    """

    storage: Float = "fp32"
    arithmetic: Float = "fp32"

    def __post_init__(self) -> None:
        if self.arithmetic == "fp16" and self.storage == "fp32":
            raise ValueError("arithmetic in halves needs halves in memory")

    @property
    def storage_bytes(self) -> int:
        """Bytes of a stored value."""
        return 2 if self.storage == "fp16" else 4

    @property
    def storage_dtype(self) -> str:
        """TVM's name of a stored value's type."""
        return "float16" if self.storage == "fp16" else "float32"

    @property
    def arithmetic_dtype(self) -> str:
        """TVM's name of the type of sums."""
        return "float16" if self.arithmetic == "fp16" else "float32"
