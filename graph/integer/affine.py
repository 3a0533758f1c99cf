"""How 8-bit integers stand for real numbers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
Scales = npt.NDArray[np.float32]

INT8_MIN, INT8_MAX = -128, 127


@dataclass(frozen=True)
class Affine:
    """The int8 value q stands for scale * (q - zero_point).

    `scale` is a float32 value held as a Python float, as TFLite's schema stores it, positive and finite; `zero_point`
    lies in -128..127.
    """

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if not (0.0 < self.scale < float("inf")) or float(np.float32(self.scale)) != self.scale:
            raise ValueError(f"a scale must be a positive, finite float32, not {self.scale!r}")
        if not INT8_MIN <= self.zero_point <= INT8_MAX:
            raise ValueError(f"a zero point must be in {INT8_MIN}..{INT8_MAX}, not {self.zero_point}")

    def quantize(self, values: FloatArray) -> Int8Array:
        """The nearest integers, ties away from zero as TFLite's QUANTIZE, saturated."""
        scaled = values.astype(np.float64) / self.scale
        rounded = np.trunc(scaled + np.copysign(0.5, scaled)) + self.zero_point
        return np.asarray(np.clip(rounded, INT8_MIN, INT8_MAX), np.int8)

    def dequantize(self, values: Int8Array) -> FloatArray:
        """The real numbers that the integers stand for."""
        return np.asarray((values.astype(np.int32) - self.zero_point) * np.float32(self.scale), np.float32)
