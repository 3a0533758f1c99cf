"""Files of records: JSON lines to which several processes may append, and which no kill can spoil.

A record counts once its line ends. Who appends holds the file's lock, first takes away a torn last line that a killed
process has left, reads what others have added meanwhile, and writes its line in one call.
"""

import fcntl
import os
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.whole_file import whole_file

_READ_BYTES = 1 << 20
RecordT = TypeVar("RecordT")
KeyT = TypeVar("KeyT", bound=Hashable)


@dataclass(frozen=True)
class LineFormat(Generic[RecordT, KeyT]):
    """How records lie in lines.

    `encode` gives a line with its end. `decode` takes a line without it and its origin, FILE:LINE, with which the
    message of its UserError begins. Records with one `key` are about the same, and `newer` picks one of two.
    `beginning` is that of every line.
    """

    encode: Callable[[RecordT], bytes]
    decode: Callable[[bytes, str], RecordT]
    key: Callable[[RecordT], KeyT]
    newer: Callable[[RecordT, RecordT], RecordT]
    beginning: bytes


class JsonlStore(Generic[RecordT, KeyT]):
    """The records in one file; it need not exist.

    Raises UserError where a line is not a record, and where the path is not that of a file.
    """

    def __init__(self, path: Path, lines: LineFormat[RecordT, KeyT]) -> None:
        self.path = path
        self._format = lines
        self._records: dict[KeyT, RecordT] = {}
        self._read_bytes, self._lines, self._inode = 0, 0, -1
        try:
            if not path.exists():
                return
            # A device or a pipe can be read without end.
            if not (path.is_file() or path.is_dir()):
                raise UserError(f"{path}: is not a regular file; records are kept in one")
            with path.open("rb") as file:
                self._catch_up(file.fileno())
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from error

    @property
    def records(self) -> tuple[RecordT, ...]:
        """One record per key, the newest, in order of first appearance."""
        return tuple(self._records.values())

    def __contains__(self, key: KeyT) -> bool:
        return key in self._records

    def require_writable(self) -> None:
        """Make the file if there is none, and take away a torn last line.

        Raises MissingError where the file cannot be written: before there is anything to lose.
        """
        with self._appending() as file:
            self._catch_up(file, repair=True)

    def append(self, record: RecordT) -> bool:
        """Add a record to the file; False where another process has added one with the same key.

        Raises MissingError where the file cannot be written.
        """
        key = self._format.key(record)
        with self._appending() as file:
            self._catch_up(file, repair=True)
            if key in self._records:
                return False
            self._write(file, self._format.encode(record))
        self._lines += 1
        self._records[key] = record
        return True

    @contextmanager
    def _appending(self) -> Iterator[int]:
        try:
            with self._locked() as file:
                yield file
        except OSError as error:
            raise MissingError(f"cannot write the records {self.path}: {error.strerror or error}") from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)

    def _write(self, file: int, line: bytes) -> None:
        written = os.write(file, line)
        if written != len(line):
            os.ftruncate(file, self._read_bytes)
            raise OSError(None, "the disk is full")
        self._read_bytes += written

    def _catch_up(self, file: int, repair: bool = False) -> None:
        """Read the whole lines behind those already read; `repair` what follows the last of them."""
        status = os.fstat(file)
        if status.st_ino != self._inode or status.st_size < self._read_bytes:
            self._records, self._read_bytes, self._lines, self._inode = {}, 0, 0, status.st_ino
        *lines, tail = _read(file, self._read_bytes).split(b"\n")
        if repair and tail:
            if self._is_record(tail):
                lines.append(tail)
                os.write(file, b"\n")
            elif self._is_torn(tail):
                os.ftruncate(file, status.st_size - len(tail))
            else:
                # What no run of ours has begun is not ours to take away.
                lines.append(tail)
        for line in lines:
            record = self._format.decode(line, f"{self.path}:{self._lines + 1}")
            self._lines += 1
            self._read_bytes += len(line) + 1
            key = self._format.key(record)
            known = self._records.get(key)
            self._records[key] = self._format.newer(known, record) if known is not None else record

    def _is_record(self, line: bytes) -> bool:
        try:
            self._format.decode(line, "")
        except UserError:
            return False
        return True

    def _is_torn(self, tail: bytes) -> bool:
        """Whether a last line without an end is the beginning of a record, as a killed process leaves it."""
        beginning = self._format.beginning
        return tail.startswith(beginning) or beginning.startswith(tail)


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Write a file of lines, whole or not at all. Raises MissingError where the disk refuses."""
    with whole_file(path) as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(b"".join(lines))


def _read(file: int, offset: int) -> bytes:
    parts = []
    while part := os.pread(file, _READ_BYTES, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
