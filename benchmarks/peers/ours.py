"""What mnv3c compiled: its library, called through its C API."""

import ctypes
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from mnv3c.compiler.c_text import identifier
from mnv3c.compiler.execute import Artifact
from mnv3c.compiler.manifest import PortEntry
from mnv3c.graph.errors import MissingError
from mnv3c.graph.ir import Array
from mnv3c.targets.registry import host_target
from peers.network import Network
from peers.runtime import channels_last, channels_second

_ALIGNMENT_BYTES = 64  # what the library uses in place


@dataclass(frozen=True)
class LibrarySession:
    """The library's entry point with its buffers."""

    run: Callable[[], int]
    output: Array
    ports: tuple[PortEntry, ...]

    def infer(self) -> None:
        if self.run() != 0:
            raise RuntimeError("the library reported an error")

    def outputs(self) -> tuple[Array, ...]:
        ends = list(accumulate((math.prod(port.shape) for port in self.ports), initial=0))
        parts = (self.output[start:end].copy() for start, end in pairwise(ends))
        shaped = [part.reshape(port.shape) for part, port in zip(parts, self.ports, strict=True)]
        layouts = (port.layout for port in self.ports)
        return tuple(channels_last(x) if layout == "NCHW" else x for x, layout in zip(shaped, layouts, strict=True))


@dataclass(frozen=True)
class Ours:
    """An artifact of `mnv3c compile`; made by it where `directory` is None."""

    name: str = "mnv3c"
    directory: Path | None = None

    @property
    def precision(self) -> str:
        weights = Artifact.open(self.directory).manifest.weights_precision if self.directory else "fp32"
        return "fp32" if weights == "fp32" else f"{weights} weights"

    def version(self) -> str | None:
        return "the artifact's" if self.directory else "this checkout's"

    def prepare(self, network: Network, folder: Path) -> Path:
        return self.directory or compile_network(network)

    def load(self, model: Path, x: Array, threads: int) -> LibrarySession:
        artifact = Artifact.open(model)
        manifest = artifact.manifest
        library = ctypes.CDLL(str((model / manifest.files["library"].path).resolve()))
        if getattr(library, f"{manifest.name}_init")(threads) != 0:
            raise RuntimeError(f"{manifest.name}_init({threads}) failed")
        given = channels_second(x) if manifest.input.layout == "NCHW" else x
        source = _aligned(given.size)
        source[:] = given.ravel()
        output = _aligned(sum(math.prod(port.shape) for port in manifest.outputs))
        function = getattr(library, f"{manifest.name}_run")
        pointers = tuple(ctypes.c_void_p(array.ctypes.data) for array in (source, output))
        # The closure keeps the input's memory alive.
        return LibrarySession(lambda held=source: int(function(*pointers)), output, manifest.outputs)  # type: ignore[misc]


def compile_network(network: Network, threads: int = 1, folder: Path | None = None) -> Path:
    """Run `mnv3c compile` for this machine; the artifact's folder. Raises MissingError with its message."""
    place = ("-o", str(folder)) if folder else ()
    command = (sys.executable, "-m", "mnv3c", "compile", *network.words, "--threads", str(threads), *place, "--json")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise MissingError(f"mnv3c compile: {lines[-1] if lines else f'exit status {done.returncode}'}")
    return Path(json.loads(done.stdout)["path"])


def default_artifact(network: Network) -> Path:
    """Where `mnv3c compile` puts the network by default when it compiles for this machine."""
    return Path("build") / f"{identifier(network.layers.name)}-{host_target()}"


def _aligned(elements: int) -> Array:
    bytes_ = np.zeros(4 * elements + _ALIGNMENT_BYTES, np.uint8)
    start = -bytes_.ctypes.data % _ALIGNMENT_BYTES
    return bytes_[start : start + 4 * elements].view(np.float32)
