"""What `mnv3c compile` tells while it works: a bar over the kernels, and the text of stages that were asked for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mnv3c.graph.errors import MissingError, UserError

if TYPE_CHECKING:
    from mnv3c.compiler.pipeline import Listener

STAGES = ("drop-identities", "recognise-activations", "fold-batch-norm", "fuse-layers", "calls", "kernels")


def require_stages(dump: list[str]) -> None:
    """Raise UserError for a stage that there is not."""
    unknown = set(dump) - {*STAGES, "all"}
    if unknown:
        raise UserError(f"--dump: '{min(unknown)}' is not one of {', '.join(STAGES)}, all")


@contextmanager
def listening(directory: Path, dump: list[str]) -> Iterator["Listener"]:
    """Progress on stderr while the compiler works: a bar over the kernels, a line for what takes long."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mnv3c.compiler.pipeline import Listener

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Without a terminal the bar would leave an empty line.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("kernels", visible=False, total=None)

        def kernels(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=True)

        yield Listener(message=console.print, kernels=kernels, stage=_dumper(directory, dump))


def _dumper(directory: Path, wanted: list[str]) -> Callable[[str, Callable[[], str]], None]:
    def dump(stage: str, text: Callable[[], str]) -> None:
        if stage not in wanted and "all" not in wanted:
            return
        path = directory / "dump" / f"{STAGES.index(stage)}-{stage}.txt"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(), encoding="utf-8")
        except OSError as error:
            raise MissingError(f"cannot write {path}: {error.strerror}") from error

    return dump
