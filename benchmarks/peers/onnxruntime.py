"""onnxruntime on the CPU, as it comes: all graph optimisations, spinning threads."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mnv3c.graph.ir import Array
from peers.network import Network
from peers.onnx_model import fix_input_shape, write_onnx
from peers.runtime import channels_last, channels_second, installed


def prepare_onnx(network: Network, folder: Path) -> Path:
    """The user's own ONNX file with its input's shape fixed, else one written from the layers."""
    path = folder / "network.onnx"
    if network.onnx_file is not None:
        return fix_input_shape(network.onnx_file, channels_second(network.x).shape, path)
    return write_onnx(network.layers, path)


@dataclass(frozen=True)
class OnnxRuntimeSession:
    """Input and output are bound once: `infer` copies nothing. `x` keeps the input's memory."""

    session: Any
    binding: Any
    x: Any

    def infer(self) -> None:
        self.session.run_with_iobinding(self.binding)

    def outputs(self) -> tuple[Array, ...]:
        values = self.binding.copy_outputs_to_cpu()
        return tuple(channels_last(np.asarray(value)) for value in values)


@dataclass(frozen=True)
class OnnxRuntime:
    """The CPU execution provider."""

    name: str = "onnxruntime"
    precision: str = "fp32"

    def version(self) -> str | None:
        return installed("onnxruntime")

    def prepare(self, network: Network, folder: Path) -> Path:
        return prepare_onnx(network, folder)

    def load(self, model: Path, x: Array, threads: int) -> OnnxRuntimeSession:
        onnxruntime = import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        value = onnxruntime.OrtValue.ortvalue_from_numpy(channels_second(x))
        binding.bind_ortvalue_input(session.get_inputs()[0].name, value)
        for output in session.get_outputs():
            binding.bind_output(output.name)
        return OnnxRuntimeSession(session, binding, value)
