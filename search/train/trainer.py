"""Short training in PyTorch as the accuracy of a search."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as torch_functions

from mnv3c.graph.errors import UserError
from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph
from mnv3c.search.accuracy import Candidate, Judged
from mnv3c.search.train.data import ImageData, Part
from mnv3c.search.train.inherit import inherit
from mnv3c.search.train.model import TorchNetwork

Which = Literal["validation", "test"]
_EVALUATION_BATCH = 256
# What a batch's statistics weigh in a batch norm's running ones: PyTorch's default.
_MOMENTUM = 0.1


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: AdamW, the learning rate falling to 0 along a cosine."""

    steps: int
    learning_rate: float


@dataclass(frozen=True)
class Training:
    """How candidates are trained: from scratch at the start, and further from inherited weights afterwards.

    `expected` judges them by their expected accuracy (`TrainedAccuracy.expected_accuracy`), which tells networks apart
    by fewer images than the share of those that are labelled rightly.
    """

    start: Schedule = Schedule(800, 4e-3)
    proposal: Schedule = Schedule(12, 5e-4)
    final: Schedule = Schedule(400, 2e-3)
    batch: int = 64
    weight_decay: float = 1e-4
    label_smoothing: float = 0.1
    expected: bool = False

    def with_steps(self, start: int, proposal: int, final: int) -> "Training":
        """The same with other numbers of batches."""
        schedules = (self.start, self.proposal, self.final)
        longer = [replace(each, steps=steps) for each, steps in zip(schedules, (start, proposal, final), strict=True)]
        return replace(self, start=longer[0], proposal=longer[1], final=longer[2])


@dataclass(frozen=True)
class TrainedAccuracy:
    """Trains each candidate on images; its accuracy is that on the validation part. One seed gives the same weights."""

    data: ImageData
    training: Training = field(default_factory=Training)

    @property
    def identity(self) -> str:
        """The data's name and all settings."""
        return f"training on {self.data.name}, {self.training}"

    def judge(self, candidate: Candidate) -> Judged:
        """The candidate trained as its stage asks for, from its parent's weights where it has a parent.

        Raises UserError for a network that cannot be trained on the data.
        """
        if candidate.parent is None:
            graph = initialise(candidate.graph, candidate.seed)
            schedule = self.training.start
        else:
            graph = inherit(candidate.graph, candidate.parent, candidate.seed)
            schedule = self.training.final if candidate.stage == "final" else self.training.proposal
        trained = self.trained(graph, schedule, candidate.seed)
        measure = self.expected_accuracy if self.training.expected else self.accuracy
        return Judged(measure(trained, "validation"), trained)

    def trained(self, graph: Graph, schedule: Schedule, seed: int) -> Graph:
        """The graph after so many steps from the weights it has."""
        network = TorchNetwork(graph)
        self._require_classes(graph)
        tensors = list(network.parameters.values())
        optimiser = torch.optim.AdamW(
            tensors, lr=schedule.learning_rate, weight_decay=self.training.weight_decay, fused=True
        )
        generator = torch.Generator().manual_seed(seed)
        images, labels = _tensors(self.data.train)
        size = graph.type_of(graph.inputs[0].name).spatial
        order = torch.empty(0, dtype=torch.int64)
        for step in range(schedule.steps):
            if len(order) < self.training.batch:
                order = torch.cat([order, torch.randperm(len(labels), generator=generator)])
            chosen, order = order[: self.training.batch], order[self.training.batch :]
            for group in optimiser.param_groups:
                group["lr"] = schedule.learning_rate * 0.5 * (1.0 + math.cos(math.pi * step / schedule.steps))
            batch = _moved(images[chosen], size, self.data, generator)
            # The statistics of before are those of other weights: the first batch replaces them.
            logits = network(batch, max(_MOMENTUM, 1.0 / (step + 1)))
            loss = torch_functions.cross_entropy(logits, labels[chosen], label_smoothing=self.training.label_smoothing)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return network.trained_graph()

    def _require_classes(self, graph: Graph) -> None:
        classes = graph.type_of(graph.outputs[0]).channels
        most = max(int(part.labels.max()) for part in (self.data.train, self.data.validation, self.data.test))
        if most >= classes:
            raise UserError(f"'{graph.name}' has {classes} classes, data '{self.data.name}' has labels up to {most}")

    def accuracy(self, graph: Graph, which: Which) -> float:
        """The share of images of a part that the graph, as its weights are, labels rightly."""
        return self._mean(graph, which, lambda logits, labels: (logits.argmax(1) == labels).float())

    def expected_accuracy(self, graph: Graph, which: Which) -> float:
        """The mean probability that the graph gives an image's label: the accuracy of labels drawn by it."""
        return self._mean(graph, which, lambda logits, labels: logits.softmax(1).gather(1, labels[:, None])[:, 0])

    def _mean(self, graph: Graph, which: Which, measure: Callable[[Any, Any], Any]) -> float:
        network, size = TorchNetwork(graph), graph.type_of(graph.inputs[0].name).spatial
        images, labels = self._fixed(which, size)
        batches = zip(images.split(_EVALUATION_BATCH), labels.split(_EVALUATION_BATCH), strict=True)
        with torch.no_grad():
            total = sum(float(measure(network(batch), wanted).sum()) for batch, wanted in batches)
        return total / len(labels)

    def _fixed(self, which: Which, size: tuple[int, int]) -> tuple[Any, Any]:
        """The images of a part, moved once and for all; kept, since every candidate sees them."""
        if (which, size) not in self._parts:
            images, labels = _tensors(self.data.validation if which == "validation" else self.data.test)
            generator = torch.Generator().manual_seed(("validation", "test").index(which))
            moved = [_moved(images, size, self.data, generator) for _ in range(self.data.copies)]
            self._parts[which, size] = torch.cat(moved), labels.repeat(self.data.copies)
        return self._parts[which, size]

    @cached_property
    def _parts(self) -> dict[tuple[Which, tuple[int, int]], tuple[Any, Any]]:
        return {}


def _tensors(part: Part) -> tuple[Any, Any]:
    """(n, channels, height, width), of three channels where all are alike, and (n,)."""
    images = part.images if part.images.ndim == 4 else np.repeat(part.images[..., None], 3, axis=3)
    return torch.tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2))), torch.tensor(part.labels)


def _moved(images: Any, size: tuple[int, int], data: ImageData, generator: Any) -> Any:
    """The images scaled to a size, each turned, moved and zoomed at random within what the data allows."""
    count = len(images)

    def drawn(most: float) -> Any:
        return (torch.rand(count, generator=generator) * 2.0 - 1.0) * most

    angle, zoom = drawn(math.radians(data.turn_degrees)), 1.0 + drawn(data.zoom)
    # In affine_grid's coordinates a side is 2.
    across, down = drawn(2.0 * data.shift) / zoom, drawn(2.0 * data.shift) / zoom
    cosine, sine = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    rows = [torch.stack([cosine, -sine, across], 1), torch.stack([sine, cosine, down], 1)]
    grid = torch_functions.affine_grid(torch.stack(rows, 1), [count, images.shape[1], *size], align_corners=False)
    # Outside an image is its darkest, which for images in -1..1 is -1.
    moved = torch_functions.grid_sample(images + 1.0, grid, align_corners=False) - 1.0
    return moved.contiguous(memory_format=torch.channels_last)
