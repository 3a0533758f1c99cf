"""The memories of an emulated accelerator: arrays of bytes that are reached by address alone."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.affine import Int8Array, Int32Array
from mnv3c.graph.integer.ops import Rounding
from mnv3c.targets.edgetpu.commands import Memory, Slab

Bytes = npt.NDArray[np.uint8]
_Scalar = TypeVar("_Scalar", bound=np.generic)


class AccessError(UserError):
    """A command reaches beyond a memory, or its operands do not fit each other."""


@dataclass(frozen=True, eq=False)
class Bank:
    """One memory."""

    name: Memory
    data: Bytes

    def words(self, address: int, count: int, dtype: type[_Scalar]) -> npt.NDArray[_Scalar]:
        """A copy of `count` little-endian numbers next to each other. Raises AccessError."""
        size = count * np.dtype(dtype).itemsize
        self.require(address, size)
        return self.data[address : address + size].copy().view(dtype)

    def write_words(self, address: int, values: Bytes) -> None:
        """Store bytes next to each other. Raises AccessError."""
        self.require(address, values.size)
        self.data[address : address + values.size] = values

    def read(self, slab: Slab) -> Int8Array:
        """The int8 values of a slab, as a view where its rows do not wrap around. Raises AccessError."""
        return self._rows(slab, np.int8)

    def read_int32(self, slab: Slab) -> Int32Array:
        """The int32 values of a slab. Raises AccessError."""
        return self._rows(slab, np.int32)

    def write(self, slab: Slab, values: Int8Array | Int32Array) -> None:
        """Store values of the slab's shape. Raises AccessError."""
        if values.shape != slab.shape:
            raise AccessError(f"{self.name}: {values.shape} values for a slab of {slab.shape}")
        view = self._view(slab, values.dtype.type)
        rows = self._row_numbers(slab)
        view[rows] = values

    def _rows(self, slab: Slab, dtype: type[_Scalar]) -> npt.NDArray[_Scalar]:
        return self._view(slab, dtype)[self._row_numbers(slab)]

    def _view(self, slab: Slab, dtype: type[_Scalar]) -> npt.NDArray[_Scalar]:
        size = np.dtype(dtype).itemsize
        self.require(slab.address, slab.span * size)
        if slab.address % size:
            raise AccessError(f"{self.name} {slab.address:#x} is not a multiple of {size}")
        shape = (slab.ring or slab.rows, slab.columns, slab.channels)
        strides = (slab.row_stride * size, slab.column_stride * size, size)
        return np.ndarray(shape, dtype, self.data.data, slab.address, strides)

    def _row_numbers(self, slab: Slab) -> slice | npt.NDArray[np.intp]:
        if slab.first + slab.rows <= (slab.ring or slab.rows):
            return slice(slab.first, slab.first + slab.rows)
        return (slab.first + np.arange(slab.rows)) % slab.ring

    def require(self, address: int, size: int) -> None:
        """Raises AccessError unless so many bytes from the address on are inside."""
        if address < 0 or address + size > self.data.size:
            raise AccessError(f"{self.name} {address:#x}..{address + size - 1:#x} is beyond its {self.data.size} bytes")


@dataclass(frozen=True, eq=False)
class Memories:
    """All that an accelerator remembers, and how its vector unit rounds."""

    dram: Bank
    sram: Bank
    accumulators: Bank
    parameters: Bank
    rounding: Rounding
