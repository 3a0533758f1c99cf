"""Small pieces of C source text."""

import re
from collections.abc import Sequence

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MAX_NAME_CHARACTERS = 64
_PLAIN = frozenset(range(0x20, 0x7F)) - frozenset(b'"\\?')


def is_identifier(text: str) -> bool:
    """Tell whether C and C++ accept `text` as part of a name."""
    return _IDENTIFIER.fullmatch(text) is not None


def identifier(text: str) -> str:
    """Return `text` as a name that C and file systems accept: other characters than letters, digits and _ become _.

    At most 64 characters; `net_` goes before what would begin with a digit or with the runtime's own `mnv3c_`.
    """
    plain = re.sub(r"[^A-Za-z0-9_]", "_", text)
    taken = not is_identifier(plain) or plain.startswith("mnv3c_")
    return (f"net_{plain}" if taken else plain)[:_MAX_NAME_CHARACTERS]


def string(text: str) -> str:
    """Return a C string literal that holds `text` as UTF-8.

    Everything but plain ASCII becomes three octal digits, which, unlike hexadecimal ones, end by themselves; so does
    the question mark, for the sake of trigraphs.
    """
    return '"' + "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in text.encode()) + '"'


def comment(text: str) -> str:
    """Return `text` such that it can stand inside a one-line C comment."""
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable.replace("*/", "* /").replace("/*", "/ *")


def int64_array(values: Sequence[int]) -> str:
    """Return a compound literal; C has no empty arrays, so a scalar's shape is one that nobody reads."""
    return "(const int64_t[]){" + ", ".join(str(value) for value in values or (0,)) + "}"


def dimensions(shape: Sequence[int]) -> str:
    """Return a shape for people: `1 x 224 x 224 x 3`."""
    return " x ".join(str(extent) for extent in shape) or "scalar"
