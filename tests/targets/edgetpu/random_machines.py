"""Small random networks and devices, from a seed."""

import random
from typing import Literal

from mnv3c.graph.activation import HSWISH, RELU, Activation
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import (
    Add,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Input,
    Multiply,
    Op,
    Pool2d,
    Resize,
)
from mnv3c.targets.edgetpu.device import SystolicArray
from mnv3c.targets.edgetpu.lower_work import jobs_of
from mnv3c.targets.edgetpu.machine import Machine
from mnv3c.targets.edgetpu.work import Job

Mapping = Literal["per_channel", "diagonal_ws", "dedicated", "vector"]


class NetworkMaker:
    """Grows a graph at its end."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        size = self.random.choice((5, 8, 13, 16))
        self.nodes = [
            Node("input", Input((self.random.choice((1, 1, 1, 2)), size, size + 1, self.random.choice((1, 3, 8)))))
        ]
        self.shape = list(self.nodes[0].op.infer(()).shape)

    def add(self, op: Op, *others: str) -> str:
        """Append a node that reads the last one; its name."""
        name = f"n{len(self.nodes)}"
        self.nodes.append(Node(name, op, (self.nodes[-1].name, *others)))
        return name

    def grow(self) -> None:
        """One more random piece."""
        chosen = self.random.choice(
            (self._pointwise, self._pointwise, self._depthwise, self._spatial, self._residual, self._excite, self._odd)
        )
        chosen()

    def _activation(self) -> Activation | None:
        return self.random.choice((None, RELU, HSWISH))

    def _conv(self, channels: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> str:
        pad = (kernel - 1) // 2
        name = self.add(
            Conv2d(
                channels,
                (kernel, kernel),
                (stride, stride),
                (pad, pad, pad, pad),
                groups=groups,
                bias=True,
                activation=self._activation(),
            )
        )
        self.shape[1:3] = [(extent - 1) // stride + 1 for extent in self.shape[1:3]]
        self.shape[3] = channels
        return name

    def _pointwise(self) -> None:
        self._conv(self.random.choice((1, 4, 8, 17, 24, 40)))

    def _depthwise(self) -> None:
        if self.shape[3] > 1:
            self._conv(self.shape[3], self.random.choice((3, 5)), self.random.choice((1, 2)), groups=self.shape[3])

    def _spatial(self) -> None:
        groups = 2 if self.shape[3] % 2 == 0 and self.random.random() < 0.3 else 1
        self._conv(self.random.choice((4, 8, 16)), 3, self.random.choice((1, 2)), groups)

    def _residual(self) -> None:
        before, channels = self.nodes[-1].name, self.shape[3]
        if before != "input":
            self._conv(2 * channels)
            op = Conv2d(channels, bias=True, residual="before_activation")
            self.add(op, before)
            self.shape[3] = channels

    def _excite(self) -> None:
        before, channels, shape = self.nodes[-1].name, self.shape[3], list(self.shape)
        self.add(GlobalAveragePool())
        self._conv(max(1, channels // 4))
        self._conv(channels)
        gate = self.nodes[-1].name
        self.nodes.append(Node(f"n{len(self.nodes)}", Multiply(), (before, gate)))
        self.shape = shape

    def _odd(self) -> None:
        height, width, channels = self.shape[1:]
        which = self.random.randrange(4)
        if which == 0 and min(height, width) >= 2:
            self.add(Pool2d("max", (2, 2), (2, 2)))
            self.shape[1:3] = [height // 2, width // 2]
        elif which == 1 and max(height, width) <= 13:
            self.add(Resize((2 * height, 2 * width)))
            self.shape[1:3] = [2 * height, 2 * width]
        elif which == 2 and max(height, width) <= 13:
            self.add(ConvTranspose2d(max(1, channels // 2), (2, 2), (2, 2), bias=True))
            self.shape[1:] = [2 * height, 2 * width, max(1, channels // 2)]
        elif self.nodes[-1].name != "input":
            self.add(Concat(), self.nodes[-1].name) if which == 3 else self.add(Add(), self.nodes[-1].name)
            self.shape[3] *= 2 if which == 3 else 1

    def head(self) -> None:
        """A classifier."""
        self.add(GlobalAveragePool())
        self.add(Flatten())
        self.add(Dense(self.random.choice((3, 10, 50)), bias=True))


def random_network(seed: int) -> tuple[tuple[Job, ...], tuple[str, ...]]:
    """The jobs of a small network and the names of its outputs."""
    maker = NetworkMaker(seed)
    while len(maker.nodes) < 2 or maker.random.random() < 0.75:
        maker.grow()
    if maker.random.random() < 0.5:
        maker.head()
    graph = Graph(f"random{seed}", tuple(maker.nodes), (maker.nodes[-1].name,))
    return jobs_of(graph), graph.outputs


def random_machine(seed: int) -> Machine:
    """A device on which every tile of these networks fits at its smallest."""
    r = random.Random(seed + 1)
    mapping: Mapping = r.choice(("per_channel", "diagonal_ws", "dedicated", "vector"))
    array = SystolicArray(
        kind="systolic",
        rows=r.choice((2, 4, 8, 16)),
        cols=r.choice((2, 4, 8, 16)),
        dataflow=r.choice(("os", "ws", "is")),
        depthwise=mapping,
        depthwise_macs_per_cycle=r.choice((1, 7, 64)) if mapping == "dedicated" else None,
        accumulator_bytes=r.choice((None, 256, 4096)),
    )
    lanes = r.choice((1, 3, 16)) if mapping == "vector" else r.choice((None, 1, 3, 16))
    return Machine(
        name="random",
        array=array,
        clock_hz=r.choice((100, 250, 1000)) * 1_000_000,
        dram_bytes_per_s=r.choice((None, 50, 300, 1000, 7777)) and r.choice((50, 300, 1000, 7777)) * 1_000_000,
        dram_latency_cycles=r.choice((0, 1, 20, 200)),
        sram_bytes=r.choice((None, 1024, 2048, 5000, 20_000, 100_000)),
        tile_fraction=r.choice((0.3, 0.5, 0.8)),
        sram_bytes_per_cycle=r.choice((None, None, 4, 64)),
        lanes=lanes,
        output_lanes=r.choice((None, 1, 5, 16)),
        launch_cycles=r.choice((0, 0, 10, 300)),
        fuses_layers=r.random() < 0.5,
        pins_weights=r.random() < 0.5,
        weight_permille=r.choice((1000, 700)),
    )
