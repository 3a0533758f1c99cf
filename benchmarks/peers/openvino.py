"""OpenVINO's CPU plugin, told to mind latency and to compute in float32."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mnv3c.graph.ir import Array
from peers.network import Network
from peers.onnxruntime import prepare_onnx
from peers.runtime import channels_last, channels_second, installed


@dataclass(frozen=True)
class OpenVinoSession:
    """One inference request with its input set."""

    request: Any

    def infer(self) -> None:
        self.request.start_async()
        self.request.wait()

    def outputs(self) -> tuple[Array, ...]:
        return tuple(channels_last(np.array(tensor.data)) for tensor in self.request.output_tensors)


@dataclass(frozen=True)
class OpenVino:
    """Reads the ONNX file itself."""

    name: str = "openvino"
    precision: str = "fp32"

    def version(self) -> str | None:
        return installed("openvino")

    def prepare(self, network: Network, folder: Path) -> Path:
        return prepare_onnx(network, folder)

    def load(self, model: Path, x: Array, threads: int) -> OpenVinoSession:
        openvino = import_module("openvino")
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            # Processors with AMX compute in bfloat16 otherwise.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        request = openvino.Core().compile_model(str(model), "CPU", settings).create_infer_request()
        request.set_input_tensor(openvino.Tensor(channels_second(x)))
        return OpenVinoSession(request)
