"""LiteRT (TensorFlow Lite) with XNNPACK, its default for float32 on CPUs."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mnv3c.graph.ir import Array
from peers.network import Network
from peers.runtime import installed
from peers.tflite_model import write_tflite


@dataclass(frozen=True)
class LiteRtSession:
    """An interpreter whose input has been copied in."""

    interpreter: Any

    def infer(self) -> None:
        self.interpreter.invoke()

    def outputs(self) -> tuple[Array, ...]:
        details = self.interpreter.get_output_details()
        return tuple(np.array(self.interpreter.get_tensor(detail["index"])) for detail in details)


@dataclass(frozen=True)
class LiteRt:
    """Reads a .tflite file in NHWC."""

    name: str = "litert"
    precision: str = "fp32"

    def version(self) -> str | None:
        return installed("ai-edge-litert")

    def prepare(self, network: Network, folder: Path) -> Path:
        return write_tflite(network.layers, folder / "network.tflite")

    def load(self, model: Path, x: Array, threads: int) -> LiteRtSession:
        interpreter = import_module("ai_edge_litert.interpreter").Interpreter(str(model), num_threads=threads)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        return LiteRtSession(interpreter)
