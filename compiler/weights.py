"""The packed weights of a program, as one file with aligned, deduplicated parts."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mnv3c.compiler.layout import ALIGNMENT_BYTES, align
from mnv3c.compiler.program import Argument, Region
from mnv3c.targets.target import Packed


@dataclass
class WeightsBlob:
    """Collects arrays; each gets an aligned place, equal ones share it."""

    alignment_bytes: int = ALIGNMENT_BYTES
    _parts: list[bytes] = field(default_factory=list)
    _places: dict[bytes, int] = field(default_factory=dict)
    _bytes: int = 0

    def add(self, values: Packed) -> Argument:
        """The kernel argument that reads these values."""
        half = values.dtype == np.float16
        data = np.ascontiguousarray(values, dtype="<f2" if half else "<f4").tobytes()
        digest = hashlib.sha256(data).digest()
        if digest not in self._places:
            self._places[digest] = self._bytes
            padded = data + bytes(align(len(data), self.alignment_bytes) - len(data))
            self._parts.append(padded)
            self._bytes += len(padded)
        return Argument(Region.WEIGHTS, self._places[digest], values.size, "float16" if half else "float32")

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self._bytes

    def write(self, path: Path) -> None:
        """Write the file."""
        with path.open("wb") as file:
            file.writelines(self._parts)
