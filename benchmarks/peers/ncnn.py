"""ncnn on the CPU, in float32."""

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Array
from peers.ncnn_model import write_ncnn
from peers.network import Network
from peers.runtime import channels_second, installed

_REDUCED_PRECISION = ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage")


@dataclass(frozen=True)
class NcnnSession:
    """A net; each inference needs an extractor of its own. `mat` is a view of `x`."""

    net: Any
    x: Array
    mat: Any
    names: tuple[str, ...]
    _found: list[Any] = field(default_factory=list)

    def infer(self) -> None:
        extractor = self.net.create_extractor()
        extractor.input("in", self.mat)
        self._found[:] = [extractor.extract(name)[1] for name in self.names]

    def outputs(self) -> tuple[Array, ...]:
        arrays = [np.array(mat)[None] for mat in self._found]
        return tuple(array.transpose(0, 2, 3, 1) if array.ndim == 4 else array for array in arrays)


@dataclass(frozen=True)
class Ncnn:
    """Reads its own format; one image at a time."""

    name: str = "ncnn"
    precision: str = "fp32"

    def version(self) -> str | None:
        return installed("ncnn")

    def prepare(self, network: Network, folder: Path) -> Path:
        if network.x.shape[0] != 1:
            raise UserError(f"ncnn takes one image at a time, not {network.x.shape[0]}")
        return write_ncnn(network.layers, folder / "network.param")

    def load(self, model: Path, x: Array, threads: int) -> NcnnSession:
        ncnn = import_module("ncnn")
        net = ncnn.Net()
        net.opt.num_threads = threads
        net.opt.use_vulkan_compute = False
        for name in _REDUCED_PRECISION:
            setattr(net.opt, f"use_{name}", False)
        if net.load_param(str(model)) or net.load_model(str(model.with_suffix(".bin"))):
            raise RuntimeError(f"ncnn does not read {model.name}")
        image = channels_second(x)[0]
        return NcnnSession(net, image, ncnn.Mat(image), tuple(net.output_names()))
