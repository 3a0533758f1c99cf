"""Files that are written whole or not at all: under a temporary name in their folder, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mnv3c.graph.errors import MissingError, UserError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write what `path` is to hold; it gets that name when the block ends, and is removed where that fails.

    Raises MissingError where the disk refuses.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise MissingError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        # Where the disk refuses it may refuse this too.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file in UTF-8. Raises MissingError where the disk refuses."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_place(path: Path) -> None:
    """Raises UserError where no file can have this path: that of a folder, or in a folder that is not there."""
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder")
        if not path.parent.is_dir():
            raise UserError(f"{path}: there is no folder '{path.parent}'")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
