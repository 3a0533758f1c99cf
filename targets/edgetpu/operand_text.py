"""The operands of commands as text, and back: addresses, slabs, pieces, quantisations."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, get_args, get_type_hints
from urllib.parse import quote, unquote

from mnv3c.graph.integer.affine import INT8_MAX, INT8_MIN, Affine
from mnv3c.graph.integer.ops import Clamp
from mnv3c.graph.ops import Padding, Pair
from mnv3c.targets.edgetpu.commands import Address, Count, Piece, Pieces, Size, Slab, ZeroPoint

_NUMBER = r"([0-9]{1,12})"
_SLAB = re.compile(
    rf"(0x[0-9a-f]{{1,10}})\[{_NUMBER}x{_NUMBER}x{_NUMBER}(?::{_NUMBER},{_NUMBER})?(?:%{_NUMBER}@{_NUMBER})?\]"
)
# Nothing that a device has is larger; the reader's numbers stay far from what would overflow an index.
_MAX_NUMBER = 2**40
_REMEMBERED = 4096


@dataclass(frozen=True)
class Codec:
    """How values of one type are written and read; `read` raises ValueError, `form` says what it takes."""

    write: Callable[[Any], str]
    read: Callable[[str], Any]
    form: str


def operands_of(owner: type[Any]) -> tuple[tuple[str, Codec], ...]:
    """Names and codecs of a dataclass's fields, in order."""
    hints = get_type_hints(owner)
    return tuple((field.name, _codec(hints[field.name])) for field in fields(owner))


def _codec(hint: Any) -> Codec:
    if hint in _CODECS:
        codec = _CODECS[hint]
        # Most operands are the same as in many commands before.
        return replace(codec, write=lru_cache(_REMEMBERED)(codec.write), read=lru_cache(_REMEMBERED)(codec.read))
    choices = get_args(hint)
    return Codec(str, _one_of(choices), f"one of {', '.join(choices)}")


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    return lambda text: choices[choices.index(text)]


def _read_number(text: str) -> int:
    if not re.fullmatch(r"\d{1,13}", text, re.ASCII) or int(text) > _MAX_NUMBER:
        raise ValueError
    return int(text)


def _read_positive(text: str) -> int:
    if (number := _read_number(text)) < 1:
        raise ValueError
    return number


def _read_int8(text: str) -> int:
    if not re.fullmatch(r"-?\d{1,3}", text, re.ASCII) or not INT8_MIN <= int(text) <= INT8_MAX:
        raise ValueError
    return int(text)


def _read_address(text: str) -> int:
    if not re.fullmatch(r"0x[0-9a-f]{1,11}", text) or int(text, 16) > _MAX_NUMBER:
        raise ValueError
    return int(text, 16)


def _numbers(
    separator: str, read_one: Callable[[str], int], count: int | None = None
) -> Callable[[str], tuple[int, ...]]:
    def read(text: str) -> tuple[int, ...]:
        values = tuple(map(read_one, text.split(separator)))
        if count is not None and len(values) != count:
            raise ValueError
        return values

    return read


def _write_slab(slab: Slab) -> str:
    shape = "x".join(map(str, slab.shape))
    dense = (slab.row_stride, slab.column_stride) == (slab.columns * slab.channels, slab.channels)
    strides = "" if dense else f":{slab.row_stride},{slab.column_stride}"
    ring = f"%{slab.ring}@{slab.first}" if slab.ring else ""
    return f"{slab.address:#x}[{shape}{strides}{ring}]"


def _read_slab(text: str) -> Slab:
    match = _SLAB.fullmatch(text)
    if match is None:
        raise ValueError
    address, *rest = match.groups()
    numbers = [None if word is None else int(word) for word in rest]
    rows, columns, channels, row_stride, column_stride, ring, first = numbers
    slab = Slab.dense(int(address, 16), rows or 0, columns or 0, channels or 0)
    if row_stride is not None and column_stride is not None:
        slab = replace(slab, row_stride=row_stride, column_stride=column_stride)
    if ring is not None and first is not None:
        slab = replace(slab, ring=ring, first=first)
    fits = not slab.ring or (slab.rows <= slab.ring and slab.first < slab.ring)
    if slab.channels < 1 or slab.column_stride < slab.channels or not fits or (ring is not None and not slab.ring):
        raise ValueError
    return slab


def _write_pieces(pieces: Pieces) -> str:
    return ",".join(f"{piece.address:#x}+{piece.length}" for piece in pieces)


def _read_pieces(text: str) -> Pieces:
    words = (word.partition("+") for word in text.split(","))
    return tuple(Piece(Address(_read_address(address)), Size(_read_number(length))) for address, _, length in words)


def _write_affine(affine: Affine) -> str:
    return f"{affine.scale!r}:{affine.zero_point}"


def _read_affine(text: str) -> Affine:
    scale, _, zero_point = text.partition(":")
    if repr(float(scale)) != scale:
        raise ValueError
    return Affine(float(scale), _read_int8(zero_point))


def _write_clamp(clamp: Clamp) -> str:
    return f"{clamp.low}..{clamp.high}"


def _read_clamp(text: str) -> Clamp:
    low, _, high = text.partition("..")
    clamp = Clamp(_read_int8(low), _read_int8(high))
    if not INT8_MIN <= clamp.low <= clamp.high <= INT8_MAX:
        raise ValueError
    return clamp


def _crossed(values: tuple[int, ...]) -> str:
    return "x".join(map(str, values))


def _read_name(text: str) -> str:
    name = unquote(text, errors="strict")
    if not text or quote(name, safe=_PLAIN) != text:
        raise ValueError
    return name


_PLAIN = "/:.-_[](){}<>,;@+*$!~^|"
_CODECS: Mapping[Any, Codec] = MappingProxyType(
    {
        Count: Codec(str, _read_positive, "a positive number"),
        ZeroPoint: Codec(str, _read_int8, "a number in -128..127"),
        bool: Codec(lambda value: "yes" if value else "no", lambda text: ("no", "yes").index(text) == 1, "yes or no"),
        str: Codec(lambda name: quote(name, safe=_PLAIN), _read_name, "a name (other characters as %20)"),
        Address: Codec(hex, _read_address, "an address such as 0x1a0"),
        Pieces: Codec(_write_pieces, _read_pieces, "pieces ADDRESS+BYTES such as 0x40+96,0x1a0+32"),
        Size: Codec(str, _read_number, "a number of bytes"),
        Slab: Codec(_write_slab, _read_slab, "a slab such as 0x40[8x8x3], [8x8x3:128,16] or [8x8x3%12@7]"),
        Pair: Codec(_crossed, _numbers("x", _read_positive, 2), "two numbers such as 3x3"),
        Padding: Codec(
            lambda value: ",".join(map(str, value)), _numbers(",", _read_number, 4), "four numbers such as 0,0,1,1"
        ),
        tuple[int, ...]: Codec(_crossed, _numbers("x", _read_positive), "numbers such as 1x8x8x3"),
        Affine: Codec(_write_affine, _read_affine, "SCALE:ZERO_POINT, a float32 and -128..127"),
        Clamp: Codec(_write_clamp, _read_clamp, "LOW..HIGH within -128..127"),
    }
)
