"""Whole text files, read with a limit."""

from pathlib import Path

from mnv3c.graph.errors import UserError

MAX_BYTES = 256 * 1024 * 1024


def read_text(path: Path) -> str:
    """The file's text. Raises UserError where it cannot be read, is not UTF-8, or is larger than `MAX_BYTES`."""
    return _decoded(path, _read(path, MAX_BYTES))


def read_head(path: Path, limit_bytes: int) -> str:
    """The beginning of the file's text; what is not UTF-8 is replaced. Raises UserError where it cannot be read."""
    return _read(path, limit_bytes, whole=False).decode("utf-8-sig", errors="replace")


def _read(path: Path, limit_bytes: int, whole: bool = True) -> bytes:
    try:
        # A device or a pipe can be read without end.
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError(f"{path}: is not a regular file")
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > limit_bytes and whole:
        raise UserError(f"{path}: is larger than the {limit_bytes >> 20} MiB allowed")
    return content[:limit_bytes]


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text") from None
