"""Where traces lie: beside the records, each in a file named by its number, which comes from its content."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mnv3c.compiler.tune.store import shipped_path, user_store_path
from mnv3c.graph.errors import UserError
from mnv3c.graph.whole_file import whole_file
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.trace import trace_number

_FOLDER = "traces"


@dataclass(frozen=True)
class TraceFolder:
    """Traces as files. Writers never see each other's halves."""

    path: Path

    @staticmethod
    def beside(records: Path) -> "TraceFolder":
        """The folder that belongs to a file of records."""
        return TraceFolder(records.parent / _FOLDER)

    def file(self, number: int) -> Path:
        """Where a trace lies or would lie."""
        name = f"{number:012x}.json"
        return self.path / name[:2] / name

    def save(self, trace: str) -> int:
        """Keep a trace; its number. Raises MissingError where it cannot be written."""
        number = trace_number(trace)
        path = self.file(number)
        if path.is_file():
            return number
        with whole_file(path) as temporary:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(trace, encoding="utf-8")
        return number

    def load(self, number: int) -> str | None:
        """A trace; None where there is none. Raises UserError where the file's content is another's."""
        path = self.file(number)
        try:
            trace = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read: {error}") from error
        if trace_number(trace) != number:
            raise UserError(f"{path}: is not the trace that its name tells; it was changed: remove the file")
        return trace


def find_trace(number: int, folders: Sequence[TraceFolder]) -> str | None:
    """A trace from the first folder that has it. Raises as `TraceFolder.load`."""
    found = (folder.load(number) for folder in folders)
    return next((trace for trace in found if trace is not None), None)


def known_trace_folders(device: CpuDevice) -> tuple[TraceFolder, ...]:
    """The folders beside the records of a device: the user's own, and those that come with the package."""
    return TraceFolder.beside(user_store_path(device)), TraceFolder.beside(shipped_path(device))
