"""The programs that are measured, and what is said meanwhile; for the commands that measure."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.compiler.measure.job import Job, Program
    from mnv3c.compiler.measure.outcome import Outcome
    from mnv3c.compiler.pipeline import Compiler
    from mnv3c.profiles.work import Work
    from mnv3c.search.workers import Workers
    from mnv3c.targets.device import CpuDevice

MaxNoiseOption = Annotated[
    str,
    typer.Option(
        "--max-noise", metavar="PERCENT", help="A median that is less certain is measured longer, then refused."
    ),
]

SshOption = Annotated[
    list[str] | None, typer.Option(metavar="OPTION", help="Passed to ssh as -o OPTION, as in ssh_config.")
]


def noise_share(text: str) -> float:
    """The share that `--max-noise` asks for. Raises UserError where it is not a percentage."""
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not 0 < percent <= 100:
        raise UserError(f"--max-noise: '{text}' is not a percentage above 0 and up to 100, as in 5%")
    return percent / 100


def program_compiler(device: "CpuDevice", threads: int) -> "Compiler":
    """The compiler of programs that are measured: with all known records, its messages on stderr."""
    from mnv3c.compiler.pipeline import Compiler, Listener
    from mnv3c.compiler.tune.metaschedule.traces import known_trace_folders
    from mnv3c.compiler.tune.store import known_records
    from mnv3c.targets.loader import load_target

    return Compiler(
        load_target(device.target),
        device,
        records=known_records(device),
        listener=Listener(message=_say),
        traces=known_trace_folders(device),
        threads=threads,
    )


def shell_library(compiler: "Compiler", folder: Path) -> Callable[[], Path]:
    """What builds the library through which an RPC server runs programs, once and only where it is asked for."""
    from mnv3c.compiler.transport.rpc import build_shell_library

    return cache(lambda: build_shell_library(compiler.target.toolchain(compiler.device, "linux"), folder))


class Show:
    """Says on stderr what is going on; the bar only on a terminal."""

    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task = bar, task

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def compiling(self, done: int, total: int) -> None:
        """Move the bar while programs are compiled."""
        self._bar.update(self._task, completed=done, total=total, description="compiling")

    def outcome(self, outcome: "Outcome", done: int, total: int) -> None:
        """Move the bar while they are measured, and say what failed."""
        self._bar.update(self._task, completed=done, total=total, description="measuring")
        if outcome.state == "failed":
            self.message(f"{outcome.job.name} on {outcome.where.place}: {outcome.reason}")


@contextmanager
def showing() -> Iterator[Show]:
    """Show a bar on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Without a terminal the bar would leave an empty line.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Show(bar, bar.add_task("compiling", total=None))


@dataclass(frozen=True)
class _BenchCompiler:
    """Compiles jobs wherever it is sent to, through the cache there."""

    compiler: "Compiler"

    def __call__(self, job: "Job") -> "tuple[Program, bytes]":
        """The program, and its bench's content, since the file stays behind."""
        from mnv3c.compiler.cache import FileCache
        from mnv3c.compiler.measure.job import compile_job

        with tempfile.TemporaryDirectory(prefix="mnv3c-bench-") as folder:
            program = compile_job(job, replace(self.compiler, cache=FileCache.default()), Path(folder))
            return program, program.bench.read_bytes()


def compiled_programs(
    jobs: "Sequence[Job]", compiler: "Compiler", folder: Path, show: Show, workers: "Workers | None" = None
) -> "Mapping[Work, Program | str]":
    """The program of each job, or why there is none; compiled by `workers`, by default in this process.

    Raises MissingError where the workers are lost: kernels that they compiled stay in their caches.
    """
    from mnv3c.compiler.pipeline import Listener
    from mnv3c.search.workers import HERE

    programs: dict[Work, Program | str] = {}
    compile_bench = _BenchCompiler(replace(compiler, listener=Listener(_say, _unheard, _unheard)))
    show.compiling(0, len(jobs))
    for job, compiled in (workers or HERE).map(compile_bench, jobs):
        if isinstance(compiled, UserError):
            programs[job.work] = str(compiled)
        else:
            program, content = compiled
            bench = folder / str(len(programs))
            bench.write_bytes(content)
            bench.chmod(0o755)
            programs[job.work] = replace(program, job=job, bench=bench)
        show.compiling(len(programs), len(jobs))
    return programs


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _unheard(*what: object) -> None:
    """Hears of progress and says nothing."""
