"""A campaign: jobs on devices, what is already measured left out, each finished job kept at once."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread

from mnv3c.compiler.measure.device_queue import DeviceQueue
from mnv3c.compiler.measure.job import Job, Program
from mnv3c.compiler.measure.outcome import Outcome, RecordMaker, Where
from mnv3c.compiler.measure.settings import Patience, Settings
from mnv3c.compiler.transport.machine import Machine
from mnv3c.compiler.tune.session import host_title
from mnv3c.profiles.record import RecordStore
from mnv3c.profiles.work import Work

# Programs by the work of their jobs; or why there is none.
Programs = Mapping[Work, Program | str]


@dataclass(frozen=True)
class Campaign:
    """Measures every job on every machine.

    `device` is what the programs are compiled for; empty where that is this host: then places name their machines.
    Records go to `store`, if there is one, as soon as a job is measured; jobs that have one there are skipped.
    `prepare` compiles jobs. `message` hears what goes wrong meanwhile, `progress` each outcome with the number of those
    and of all.
    """

    machines: Sequence[Machine]
    device: str
    settings: Settings
    patience: Patience
    prepare: Callable[[Sequence[Job]], Programs]
    store: RecordStore | None = None
    message: Callable[[str], None] = lambda text: None
    progress: Callable[[Outcome, int, int], None] = lambda outcome, done, total: None

    def run(self, jobs: Sequence[Job]) -> tuple[Outcome, ...]:
        """The outcome of every job on every machine, by machine and then by job; equal jobs count once.

        Raises MissingError where the records cannot be written.
        """
        if self.store is not None:
            self.store.require_writable()
        unique = {job.work: job for job in jobs}
        total = len(self.machines) * len(unique)
        ended: dict[tuple[str, Work], Outcome] = {}
        with closing(self._outcomes(tuple(unique.values()))) as outcomes:
            for outcome in outcomes:
                ended[outcome.where.place, outcome.job.work] = outcome
                self.progress(outcome, len(ended), total)
        return tuple(ended[machine.place, work] for machine in self.machines for work in unique)

    def _outcomes(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        """What is already measured, what cannot be compiled, then what the machines say."""
        makers = {machine.place: self._maker(machine) for machine in self.machines}
        known = {record.key: record for record in self.store.records} if self.store is not None else {}
        wanted: dict[str, list[Job]] = {place: [] for place in makers}
        for place, maker in makers.items():
            for job in jobs:
                if skipped := maker.skipped(job, known):
                    yield skipped
                else:
                    wanted[place].append(job)
        missing = {job.work: job for listed in wanted.values() for job in listed}
        programs = self.prepare(tuple(missing.values())) if missing else {}
        ready: dict[str, list[Program]] = {place: [] for place in makers}
        for place, listed in wanted.items():
            for job in listed:
                program = programs[job.work]
                if isinstance(program, str):
                    yield Outcome(job, makers[place].where, "failed", program)
                else:
                    ready[place].append(program)
        found: SimpleQueue[Outcome | None] = SimpleQueue()
        queues = [
            (DeviceQueue(machine, makers[machine.place], self.patience, found.put, self.message), ready[machine.place])
            for machine in self.machines
        ]
        with closing(_measured(queues, found)) as outcomes:
            for outcome in outcomes:
                self._keep(outcome)
                yield outcome

    def _maker(self, machine: Machine) -> RecordMaker:
        own_name = host_title() if machine.place == "host" else machine.place
        return RecordMaker(Where(machine.place, self.device or own_name), self.settings)

    def _keep(self, outcome: Outcome) -> None:
        # The job's own record comes last: where it is, the layers' are.
        if self.store is not None:
            for record in outcome.records:
                self.store.append(record)


def _measured(
    queues: Sequence[tuple[DeviceQueue, Sequence[Program]]], outcomes: "SimpleQueue[Outcome | None]"
) -> Generator[Outcome, None, None]:
    """Outcomes of all queues, which work at the same time, as they come. However it ends, nothing goes on running."""
    errors: list[BaseException] = []

    def work(queue: DeviceQueue, programs: Sequence[Program]) -> None:
        try:
            queue.run(programs)
        except BaseException as error:
            errors.append(error)
        finally:
            outcomes.put(None)

    threads = [Thread(target=work, args=pair, daemon=True) for pair in queues]
    try:
        for thread in threads:
            thread.start()
        running = len(threads)
        while running:
            outcome = outcomes.get()
            if outcome is None:
                running -= 1
            else:
                yield outcome
    finally:
        for queue, _ in queues:
            queue.stop()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
