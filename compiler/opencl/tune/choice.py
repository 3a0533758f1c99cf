"""Choosing a GPU's kernels by records that were made through PoCL."""

from collections.abc import Iterable, Sequence
from typing import Any

from mnv3c.compiler.opencl.target import OpenClTarget
from mnv3c.compiler.opencl.tune.device import PoclDevice
from mnv3c.compiler.tune.choice import RecordedChoice
from mnv3c.compiler.tune.record import Record
from mnv3c.targets.base_device import Device
from mnv3c.targets.target import Candidate, LayerWork


class PoclChoice:
    """Chooses tiles and work-groups as `RecordedChoice` does, where there are records; else first guesses."""

    def __init__(self, records: Iterable[Record], target: OpenClTarget[Any], device: Device) -> None:
        self._target, self._device = target, device
        self._choice = RecordedChoice(records, PoclDevice.here(target, device))

    @property
    def recorded(self) -> frozenset[Candidate]:
        """The candidates that were chosen by records so far."""
        return self._choice.recorded

    def choose(self, work: LayerWork, candidates: Sequence[Candidate]) -> Candidate:
        """A candidate for a layer."""
        return self._choice.choose(work, self._target.tunable(candidates, self._device))
