"""Weights in an uncompressed `.npz`, as `numpy.savez` writes it and `numpy.load` reads it."""

import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Array

_HEADER = re.compile(rb"\{'descr': '<f4', 'fortran_order': False, 'shape': \(([0-9, ]*)\), \} *\n")
_MAX_HEADER_BYTES = 4096


def write_weights(file: IO[bytes], weights: Mapping[str, Array]) -> None:
    """Write arrays under their names. The same weights give the same bytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, value in weights.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(value, np.float32), allow_pickle=False)


def read_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Arrays with exactly these names and shapes, all float32; nothing is read before its size fits.

    Raises UserError naming the file and the weight for one missing, extra, compressed, or of another shape or dtype,
    and for a file that is truncated, corrupt or unreadable.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(path, archive, shapes)
            return {name: _read(path, archive, members[name], name, shape) for name, shape in shapes.items()}
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (
        zipfile.BadZipFile,
        EOFError,
        ValueError,
        RuntimeError,
        NotImplementedError,
        KeyError,
        OverflowError,
    ) as error:
        raise UserError(f"{path}: not a valid .npz: {str(error)[:200]}") from None


def _members(path: Path, archive: zipfile.ZipFile, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name not in shapes or name in members:
            problem = "is there twice" if name in members else "belongs to no node"
            raise UserError(f"{path}: weight {name[:80]!r} {problem}")
        # A stored member is no larger than the file, so nothing here can inflate.
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise UserError(f"{path}: weight '{name}' is compressed; it must be stored, as by numpy.savez")
        members[name] = info
    for name in shapes:
        if name not in members:
            raise UserError(f"{path}: weight '{name}' is missing")
    return members


def _read(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, shape: tuple[int, ...]) -> Array:
    size = 4 * math.prod(shape)
    if not size < info.file_size <= size + _MAX_HEADER_BYTES:
        raise UserError(f"{path}: weight '{name}' has {info.file_size} bytes, needs float32 of shape {shape}")
    with archive.open(info) as member:
        header = member.read(info.file_size - size)
        # read() checks the member's CRC-32 at its end.
        data = member.read()
    if _shape(header) != shape or len(data) != size:
        raise UserError(f"{path}: weight '{name}' must be float32 of shape {shape} in C order")
    return np.frombuffer(data, np.dtype("<f4")).reshape(shape)


def _shape(header: bytes) -> tuple[int, ...] | None:
    """The shape in a .npy header of version 1, 2 or 3; None for anything but float32 in C order.

    Matched here because numpy's own reader evaluates the header as Python text and may warn.
    """
    if not header.startswith(b"\x93NUMPY"):
        return None
    found = _HEADER.fullmatch(header[10 if header[6:7] == b"\x01" else 12 :])
    return tuple(int(extent) for extent in found[1].split(b",") if extent.strip()) if found else None
