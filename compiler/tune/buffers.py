"""Memory for kernels that nobody trusts yet, and the arguments that point to it."""

import ctypes
import mmap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mnv3c.compiler.layout import ALIGNMENT_BYTES

Array = npt.NDArray[np.float32]
_GUARD_BYTES = 4096
_GUARD = 0xA5


@dataclass(frozen=True)
class GuardedBuffer:
    """`values` floats, 64-byte aligned, between guards that no kernel may touch."""

    whole: npt.NDArray[np.uint8]
    values: Array

    @staticmethod
    def of(elements: int, fill: float = np.nan) -> "GuardedBuffer":
        """A buffer of so many floats, all `fill`."""
        # Private memory counts towards the process's limit, shared memory does not.
        size = elements * 4 + 2 * _GUARD_BYTES + ALIGNMENT_BYTES
        memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        # NumPy asks for huge pages, which the weights and the arena of a compiled network do not lie in.
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            memory.madvise(mmap.MADV_NOHUGEPAGE)
        whole = np.frombuffer(memory, np.uint8)
        whole[:] = _GUARD
        start = _GUARD_BYTES + (-(whole.ctypes.data + _GUARD_BYTES)) % ALIGNMENT_BYTES
        values = whole[start : start + elements * 4].view(np.float32)
        values[:] = fill
        return GuardedBuffer(whole, values)

    @staticmethod
    def holding(array: Array) -> "GuardedBuffer":
        """A buffer with the values of an array, flat."""
        buffer = GuardedBuffer.of(array.size)
        buffer.values[:] = array.ravel()
        return buffer

    def intact(self) -> bool:
        """Whether both guards are as they were."""
        start = self.values.ctypes.data - self.whole.ctypes.data
        before, behind = self.whole[:start], self.whole[start + self.values.nbytes :]
        return bool((before == _GUARD).all() and (behind == _GUARD).all())


class DLTensor(ctypes.Structure):
    """As in runtime/tvm_abi.h, with the device and the dtype spread out."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class TVMFFIAny(ctypes.Structure):
    """As in runtime/tvm_abi.h; the value is always a pointer here."""

    _fields_ = (("type_index", ctypes.c_int32), ("padding", ctypes.c_int32), ("pointer", ctypes.c_void_p))


_CPU, _FLOAT, _DLTENSOR_POINTER = 1, 2, 7


class Arguments:
    """A kernel's arguments: flat float32 tensors. Keeps everything that they point to alive."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        self._arrays = tuple(arrays)
        self._extents = [(ctypes.c_int64 * 2)(array.size, 1) for array in arrays]
        self._tensors = (DLTensor * len(arrays))()
        self.values = (TVMFFIAny * len(arrays))()
        for index, (array, extents) in enumerate(zip(arrays, self._extents, strict=True)):
            step = ctypes.cast(ctypes.byref(extents, 8), ctypes.POINTER(ctypes.c_int64))
            shape = ctypes.cast(extents, ctypes.POINTER(ctypes.c_int64))
            self._tensors[index] = DLTensor(array.ctypes.data, _CPU, 0, 1, _FLOAT, 32, 1, shape, step, 0)
            pointer = ctypes.addressof(self._tensors) + index * ctypes.sizeof(DLTensor)
            self.values[index] = TVMFFIAny(_DLTENSOR_POINTER, 0, pointer)

    def __len__(self) -> int:
        return len(self._arrays)
