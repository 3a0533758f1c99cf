"""One device's queue of jobs: worked off batch by batch, with patience when the device goes away."""

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event

from mnv3c.compiler.measure.job import Program
from mnv3c.compiler.measure.outcome import Outcome, RecordMaker
from mnv3c.compiler.measure.progress import Progress
from mnv3c.compiler.measure.readings import Readings
from mnv3c.compiler.measure.script import open_script, opened, remove_folder_script
from mnv3c.compiler.measure.session import Batch
from mnv3c.compiler.measure.settings import Patience
from mnv3c.compiler.transport.machine import DeviceLostError, Machine
from mnv3c.graph.errors import MissingError

# So many take turns: enough to interleave, and few enough that little is lost when this process is killed.
_BATCH_JOBS = 8
_BATCH_BYTES = 128 << 20
_END_LIMIT_S = 60.0


class DeviceQueue:
    """Measures programs on one machine. `ended` gets each outcome as it comes, `message` what goes wrong meanwhile."""

    def __init__(
        self,
        machine: Machine,
        maker: RecordMaker,
        patience: Patience,
        ended: Callable[[Outcome], None],
        message: Callable[[str], None],
    ) -> None:
        self._machine, self._maker, self._patience = machine, maker, patience
        self._ended, self._message = ended, message
        self._name = f"mnv3c-{secrets.token_hex(8)}"
        self._answered = False
        self._stopped = Event()

    def run(self, programs: Sequence[Program]) -> None:
        """Give every program an outcome."""
        gone: str | None = None
        try:
            for group in batches(programs):
                if gone is None:
                    gone = self._run_batch(group)
                else:
                    self._fail(group, gone)
        finally:
            with suppress(MissingError):
                self._remove_folder()
            self._machine.interrupt()

    def stop(self) -> None:
        """End what runs, from another thread; what is left then fails."""
        self._stopped.set()
        self._machine.interrupt()

    def _run_batch(self, programs: Sequence[Program]) -> str | None:
        """Measure some programs together. Returns why the device is useless for all others too; None if it is not."""
        found = [Progress(program) for program in programs]
        batch = Batch(self._machine, self._name, self._maker.settings, found, self._batch_ended, self._stopped)
        reason = self._patiently(batch)
        self._fail([each.program for each in batch.programs if not each.delivered], reason or "was not measured")
        return reason if reason is not None and not self._answers() else None

    def _patiently(self, batch: Batch) -> str | None:
        """Run a batch to its end. Returns why that was given up; None where it was not."""
        failures = 0
        while True:
            steps = batch.steps
            try:
                batch.run()
                self._answered = True
                return None
            except MissingError as error:
                return str(error)
            except DeviceLostError as loss:
                self._answered = self._answered or batch.steps > 0
                if all(each.delivered for each in batch.programs):
                    return None
                failures = 1 if batch.steps > steps else failures + 1
                allowed = self._patience.attempts if self._answered else self._patience.first_attempts
                if failures >= allowed or self._stopped.is_set():
                    return f"{self._machine.place} went away: {loss} ({failures} attempts in a row)"
                wait_s = self._patience.wait_s(failures)
                self._message(f"{self._machine.place}: {loss}; next attempt in {wait_s:g} s")
                self._stopped.wait(wait_s)

    def _batch_ended(self, progress: Progress, readings: Sequence[Readings]) -> None:
        program = progress.program
        if progress.problem is not None or progress.samples is None:
            self._ended(Outcome(program.job, self._maker.where, "failed", progress.problem or "was not measured"))
        else:
            self._ended(self._maker.outcome(program, progress.samples, readings))

    def _fail(self, programs: Sequence[Program], reason: str) -> None:
        for program in programs:
            self._ended(Outcome(program.job, self._maker.where, "failed", reason))

    def _answers(self) -> bool:
        if self._stopped.is_set():
            return False
        try:
            text = self._machine.shell(open_script(self._machine.folder_root, self._name), _END_LIMIT_S)
        except (DeviceLostError, MissingError):
            return False
        return opened(text) is not None

    def _remove_folder(self) -> None:
        """Leave nothing on the device, if it is there, or comes back soon."""
        attempts = self._patience.first_attempts if self._answered else 0
        for attempt in range(1, attempts + 1):
            try:
                self._machine.shell(remove_folder_script(self._machine.folder_root, self._name), _END_LIMIT_S)
                return
            except DeviceLostError:
                self._stopped.wait(self._patience.wait_s(attempt) if attempt < attempts else 0.0)


def batches(programs: Sequence[Program]) -> list[list[Program]]:
    """Programs in order, in groups of at most 8 and 128 MB, one at least."""
    groups: list[list[Program]] = []
    size_bytes = 0
    for program in programs:
        if not groups or len(groups[-1]) == _BATCH_JOBS or size_bytes + program.size_bytes > _BATCH_BYTES:
            groups.append([])
            size_bytes = 0
        groups[-1].append(program)
        size_bytes += program.size_bytes
    return groups
