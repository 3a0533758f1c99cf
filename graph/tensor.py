"""The type of a tensor: shape and dtype."""

import math
from dataclasses import dataclass
from typing import Literal

DType = Literal["float32", "int8", "uint8", "int32"]
Layout = Literal["NHWC", "NCHW"]

BYTES_PER_ELEMENT: dict[str, int] = {"float32": 4, "int32": 4, "int8": 1, "uint8": 1}


@dataclass(frozen=True)
class TensorType:
    """A dense tensor. Rank 4 is always (batch, height, width, channels), rank 2 (batch, features)."""

    shape: tuple[int, ...]
    dtype: DType = "float32"

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size in bytes, dense."""
        return self.elements * BYTES_PER_ELEMENT[self.dtype]

    @property
    def channels(self) -> int:
        """Extent of the last axis."""
        return self.shape[-1]

    @property
    def spatial(self) -> tuple[int, int]:
        """(height, width); (1, 1) for a tensor of rank 2."""
        return (self.shape[1], self.shape[2]) if len(self.shape) == 4 else (1, 1)

    def __str__(self) -> str:
        return "x".join(map(str, self.shape)) + ("" if self.dtype == "float32" else f":{self.dtype}")
