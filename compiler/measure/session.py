"""A batch of jobs on one device: their benches are brought there, checked, warmed up, and take turns round by round.

Whatever has been learnt stays when the connection is lost: the next attempt goes on where this one stopped.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from mnv3c.compiler.measure.progress import Progress
from mnv3c.compiler.measure.readings import READINGS_SCRIPT, Readings, parse_readings
from mnv3c.compiler.measure.script import Ran, lacks_file, open_script, ran, remove_script, require_opened, run_script
from mnv3c.compiler.measure.settings import Settings
from mnv3c.compiler.measure.warm_up import PROBE_RUNS
from mnv3c.compiler.transport.machine import DeviceLostError, Machine

_OPEN_LIMIT_S = 60.0
_FIRST_LIMIT_S = 600.0  # for programs of which no time is known
_LIMIT_S = 30.0  # for all that is not computing
_SLACK = 20.0
# Rounds in one script: as many as take so long. What is left running when this process is killed ends as soon.
_TURN_S = 5.0

Command = tuple[str, Sequence[str]]


@dataclass
class Batch:
    """Programs that are measured together on `machine`, in a folder `name` there.

    `ended` is told of each program that is measured or has failed, with the readings so far. Once `stopped`, nothing
    more is begun. `steps` counts what was learnt.
    """

    machine: Machine
    name: str
    settings: Settings
    programs: Sequence[Progress]
    ended: Callable[[Progress, Sequence[Readings]], None]
    stopped: Event = field(default_factory=Event)
    readings: list[Readings] = field(default_factory=list)
    steps: int = 0
    _folder: str = ""

    def run(self) -> None:
        """Bring every program to its end, or as far as it goes.

        Raises DeviceLostError where the device went away: `steps` has grown if anything was learnt, and `run` may be
        called again. Raises MissingError where another try is useless.
        """
        self._install()
        self._check()
        self._probe()
        while any(each.open for each in self.programs):
            self._turn()
        self._remove()

    def _install(self) -> None:
        text = self._shell(open_script(self.machine.folder_root, self.name), _OPEN_LIMIT_S)
        found = require_opened(text, self.machine.place, self.machine.folder_root)
        self._folder = found.folder
        missing: dict[str, Path] = {}
        for _, each in self._open():
            program = each.program
            if program.architecture != found.architecture:
                each.problem = f"compiled for {program.architecture}, the device is {found.architecture}: see --target"
            elif found.sizes_bytes.get(program.file_name) != program.size_bytes:
                missing[program.file_name] = program.bench
        if missing and not self.stopped.is_set():
            self.machine.put(missing, self._folder)
            self.steps += 1
        self._deliver()

    def _check(self) -> None:
        """A program whose numbers are wrong is not worth timing; one run of the others tells how long they take."""
        commands: list[Command] = []
        for number, each in self._open():
            if not each.checked:
                commands.append((f"{number}.check", self._words(each, "--check")))
            if each.first_s is None:
                commands.append((f"{number}.first", self._words(each, "--runs", "1", "--warmup", "0")))

        def take(each: Progress, kind: str, run: Ran) -> None:
            each.take_check(run) if kind == "check" else each.take_first(run)

        self._run(commands, _FIRST_LIMIT_S, take)

    def _probe(self) -> None:
        """Find after how many runs the times are steady, and how long a run takes."""
        fresh = [(number, each) for number, each in self._open() if each.samples is None]
        commands: list[Command] = []
        limit_s = _LIMIT_S
        for number, each in fresh:
            for count in each.missing_probes:
                probe = ("--runs", str(PROBE_RUNS), "--warmup", str(count))
                commands.append((f"{number}.{count}", self._words(each, *probe)))
                limit_s += _SLACK * (each.first_s or 0.0) * (PROBE_RUNS + count)
        self._run(commands, limit_s, lambda each, count, run: each.take_probe(int(count), run))
        for _, each in fresh:
            if each.open:
                each.begin(self.settings)

    def _turn(self) -> None:
        """Some rounds, in each of which every open program has its turn; the first one changes."""
        programs = list(self._open())
        round_s = sum(each.call_s for _, each in programs)
        rounds = max(1, min(self.settings.rounds, int(_TURN_S / round_s)))
        commands: list[Command] = []
        for turn in range(rounds):
            for place in range(len(programs)):
                number, each = programs[(place + turn) % len(programs)]
                commands += self._round(number, each, turn)
        self._run(commands, _LIMIT_S + _SLACK * rounds * round_s, Progress.take_turn, readings=True)
        for _, each in programs:
            each.finish(self.settings)
        self._deliver()

    def _round(self, number: int, each: Progress, turn: int) -> list[Command]:
        """The calls of one program in one round: profiled, and for a network also not; the order changes."""
        samples = each.samples
        assert samples is not None
        words = ("--runs", str(samples.runs), "--warmup", str(samples.warmup))
        calls: list[Command] = [(f"{number}.profile", self._words(each, "--profile", *words))]
        if each.program.whole:
            calls.append((f"{number}.whole", self._words(each, *words)))
        return calls if turn % 2 == 0 else calls[::-1]

    def _remove(self) -> None:
        names = [each.program.file_name for each in self.programs]
        self._shell(remove_script(self._folder, names), _OPEN_LIMIT_S)

    def _open(self) -> Iterable[tuple[int, Progress]]:
        return ((number, each) for number, each in enumerate(self.programs) if each.open)

    def _words(self, each: Progress, *words: str) -> tuple[str, ...]:
        return (f"./{each.program.file_name}", *self.settings.bench_words, *words)

    def _run(
        self,
        commands: Sequence[Command],
        limit_s: float,
        take: Callable[[Progress, str, Ran], None],
        readings: bool = False,
    ) -> None:
        """Run commands with tags NUMBER.KIND; `take` gets each that ended, also where the script was cut off."""
        if not commands:
            return
        script = run_script(self._folder, commands)
        if readings:
            script = READINGS_SCRIPT + script + READINGS_SCRIPT
        try:
            text = self._shell(script, limit_s)
        except DeviceLostError as loss:
            self._take(loss.stdout, take)
            raise
        if self._take(text, take) < len(commands):
            raise DeviceLostError("the folder on the device was emptied meanwhile")
        if readings:
            before, _, after = text.partition("@begin")
            self.readings += [parse_readings(part.splitlines()) for part in (before, after)]

    def _take(self, text: str, take: Callable[[Progress, str, Ran], None]) -> int:
        """Hand on what ended, and count it; a program that is not there has been taken away."""
        found = [run for run in ran(text) if not lacks_file(run)]
        for run in found:
            number, _, kind = run.tag.partition(".")
            take(self.programs[int(number)], kind, run)
        self.steps += len(found)
        self._deliver()
        return len(found)

    def _shell(self, script: str, limit_s: float) -> str:
        if self.stopped.is_set():
            raise DeviceLostError("interrupted")
        return self.machine.shell(script, limit_s)

    def _deliver(self) -> None:
        for each in self.programs:
            if not each.open and not each.delivered:
                each.delivered = True
                self.ended(each, self.readings)
