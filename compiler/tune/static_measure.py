"""Estimating candidates without their hardware: built in workers, counted under emulation, costed by LLVM's model."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mnv3c.compiler.build import KernelJob
from mnv3c.compiler.cache import FileCache
from mnv3c.compiler.machine_code import LlvmTools
from mnv3c.compiler.transport.emulator import find_emulator
from mnv3c.compiler.tune.emulated import Counter, CountError, CountingProgram
from mnv3c.compiler.tune.estimate import CycleModel
from mnv3c.compiler.tune.kernels import KernelFactory
from mnv3c.compiler.tune.record import Basis, Status
from mnv3c.compiler.tune.space import Task
from mnv3c.compiler.tune.work import given_tensors, output_of, parts_of
from mnv3c.compiler.zig import LinkError
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Candidate, GroupWork, Target

_BUILD_LIMIT_S = 60.0


@dataclass(frozen=True)
class Offer:
    """A candidate of a layer, to be estimated."""

    task: Task
    candidate: Candidate


@dataclass(frozen=True)
class Estimate:
    """What came of an offer: cycles of one call where it is ok, a reason where not.

    `instructions` counts those retired; None where they were not counted.
    """

    offer: Offer
    status: Status
    reason: str = ""
    cycles: float | None = None
    instructions: int | None = None


class Estimator(Protocol):
    """Estimates offers; those not begun by `deadline_s` on the monotonic clock are left out."""

    def __call__(self, offers: Sequence[Offer], deadline_s: float) -> Iterator[Estimate]:
        """Yield estimates as they come; none for an offer of which this basis can say nothing."""

    @property
    def basis(self) -> Basis:
        """What the estimates are made of."""

    @property
    def model(self) -> str:
        """The processor whose scheduling model they are by."""


class StaticMeasure:
    """Estimates for a device of an arm64 target. `folder` is for what is needed meanwhile; `close` ends the workers.

    `uncounted` says why executions cannot be counted; empty where they are. Raises UserError for a target of another
    architecture, MissingError without LLVM's tools. `message` is told what takes long.
    """

    def __init__(
        self,
        target: Target,
        device: CpuDevice,
        cache: FileCache,
        folder: Path,
        message: Callable[[str], None] = lambda text: None,
    ) -> None:
        if target.architecture != "aarch64":
            raise UserError(f"--on: llvm-mca estimates aarch64 only; target '{target.name}' is {target.architecture}")
        self._target, self._device, self._count = target, device, max(1, len(os.sched_getaffinity(0)))
        self._model = CycleModel(LlvmTools.find(), device, str(target.llvm_target(device)["mtriple"]))
        toolchain = target.toolchain(device, "linux")
        self._counter: Counter | None = None
        self.uncounted = ""
        try:
            self._counter = Counter(find_emulator(target.architecture), toolchain.static_triple, folder, message)
        except MissingError as error:
            self.uncounted = str(error)
        self._factory = KernelFactory(cache, toolchain, folder, _BUILD_LIMIT_S)

    @property
    def basis(self) -> Basis:
        """Executions counted, or not."""
        return "llvm-mca-loops" if self.uncounted else "llvm-mca"

    @property
    def model(self) -> str:
        """The model's processor."""
        return self._model.name

    def close(self) -> None:
        """End the worker processes."""
        self._factory.close()

    def __call__(self, offers: Sequence[Offer], deadline_s: float) -> Iterator[Estimate]:
        """Build all offers, then estimate one after the other, several at a time."""
        jobs = {offer: KernelJob.of(offer.candidate, self._target.llvm_target(self._device)) for offer in offers}
        built = self._factory.build(jobs.values(), deadline_s)
        programs = self._linked({job: path for job, path in built.items() if isinstance(path, Path)})
        known = [offer for offer, job in jobs.items() if job in built]

        def of(offer: Offer) -> Estimate | None:
            job = jobs[offer]
            return self._estimate(offer, job, built[job], programs.get(job))

        pool = ThreadPoolExecutor(self._count)
        try:
            yield from (estimate for estimate in pool.map(of, known) if estimate is not None)
        finally:
            pool.shutdown(cancel_futures=True)

    def _linked(self, objects: dict[KernelJob, Path]) -> dict[KernelJob, CountingProgram | str]:
        """The program of each kernel, as few as can be, or why it cannot be linked."""
        if self._counter is None or not objects:
            return {}
        try:
            return dict.fromkeys(objects, self._counter.link(objects))
        except LinkError as error:
            if len(objects) == 1:
                return dict.fromkeys(objects, str(error))
        jobs = list(objects)
        halves = (jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :])
        first, second = (self._linked({job: objects[job] for job in half}) for half in halves)
        return first | second

    def _estimate(
        self, offer: Offer, job: KernelJob, built: Path | str, program: CountingProgram | str | None
    ) -> Estimate | None:
        if isinstance(built, str):
            return Estimate(offer, "build_error", built)
        if isinstance(program, str):
            return Estimate(offer, "build_error", program)
        function = self._model.tools.function(built, f"__tvm_ffi_{job.symbol}")
        if program is None:
            cycles = self._model.of_macs(function, offer.task.macs)
            return None if cycles is None else Estimate(offer, "ok", cycles=cycles)
        try:
            executed = program.run(job, buffer_bytes(offer, self._target, self._device))
        except CountError as error:
            return Estimate(offer, "crash", str(error))
        return Estimate(offer, "ok", "", self._model.of_call(function, executed), executed.instructions)


def buffer_bytes(offer: Offer, target: Target, device: CpuDevice) -> tuple[int, ...]:
    """The size of each of the kernel's arguments: inputs, packed weights, scratch memory, output."""
    work = offer.task.work

    def stored(tensor: TensorType) -> int:
        return 4 * target.storage_elements(tensor, device)

    inputs = (stored(given.type) if given.storage == "target" else given.type.bytes for given in given_tensors(work))
    weights: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}
    for index, part in enumerate(parts_of(work)):
        prefix = f"{index}." if isinstance(work, GroupWork) else ""
        shapes = part.op.weights(part.inputs)
        weights |= {f"{prefix}{role}": np.zeros(shape, np.float32) for role, shape in shapes.items()}
    packed = (array.nbytes for array in offer.candidate.pack(weights))
    scratch = [4 * offer.candidate.workspace_elements] if offer.candidate.workspace_elements else []
    return (*inputs, *packed, *scratch, stored(output_of(work)))
