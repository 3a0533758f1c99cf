"""What a runtime has to offer to take part."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

import numpy as np

from mnv3c.graph.ir import Array
from peers.network import Network


class Session(Protocol):
    """A loaded network whose input lies in the runtime's own memory, so that `infer` is inference alone."""

    def infer(self) -> None:
        """Run the network once."""

    def outputs(self) -> tuple[Array, ...]:
        """What the last `infer` gave, in the IR's order (NHWC), in the order of the graph's outputs."""


class Runtime(Protocol):
    """One contender. Values travel to worker processes, so they are small and can be pickled."""

    @property
    def name(self) -> str:
        """As the table names it."""

    @property
    def precision(self) -> str:
        """Of weights and activations."""

    def version(self) -> str | None:
        """The installed version; None where the runtime is not installed."""

    def prepare(self, network: Network, folder: Path) -> Path:
        """Write the network as this runtime's users have it, below `folder`; the path that `load` takes."""

    def load(self, model: Path, x: Array, threads: int) -> Session:
        """Load the prepared network for exactly so many threads. `x` is in the IR's order."""


def installed(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def channels_second(x: Array) -> Array:
    """NHWC to NCHW, dense; other ranks as they are."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x


def channels_last(x: Array) -> Array:
    """NCHW to NHWC; other ranks as they are."""
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x
