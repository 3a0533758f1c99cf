"""Reading measurements of any known format: the file's content tells which it is."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mnv3c.graph.errors import UserError
from mnv3c.profiles.readers import (
    blocks_csv,
    e2e_matrix_csv,
    gpu_kernels_csv,
    litert_profile,
    networks_csv,
    ofa_yaml,
    onnxruntime_profile,
    proxyless_csv,
    proxyless_yaml,
    tophub_csv,
)
from mnv3c.profiles.readers.csv_table import header
from mnv3c.profiles.readers.lookup_keys import is_lookup_key, scheme_of
from mnv3c.profiles.readers.origin import NOTHING_STATED, Origin
from mnv3c.profiles.readers.text_file import read_head, read_text
from mnv3c.profiles.record import Record, decode
from mnv3c.profiles.records_csv import is_header, read_csv

_HEAD_BYTES = 1 << 20
# What `where` may name beside fields and tags: the kind of work.
KIND = "kind"


@dataclass(frozen=True)
class Format:
    """A format of files of measurements.

    `recognises` is given the beginning of a file, `left_out` gives a line for each row that `read` leaves out.
    """

    name: str
    recognises: Callable[[str], bool]
    read: Callable[[Path, Origin], tuple[Record, ...]]
    left_out: Callable[[Path], Iterator[str]] = lambda path: iter(())


def read_records(
    path: Path, where: Mapping[str, str] | None = None, stated: Origin = NOTHING_STATED
) -> tuple[Record, ...]:
    """The records of a file, in its order, of those that have the values in `where`.

    `where` maps fields of `Record`, tags, or `kind` (of work: block, layer, ...) to the text of their value. `stated`
    is what the user knows of where the figures come from. Raises UserError in one line: for a file of no known format,
    for what the format's reader finds wrong, and where `where` leaves nothing.
    """
    records = format_of(path).read(path, stated)
    if not records:
        raise UserError(f"{path}: holds no measurement")
    return filtered(records, where or {}, str(path))


def left_out(path: Path) -> tuple[str, ...]:
    """A line for each row of a file that its reader leaves out, and why. Raises UserError as `read_records` does."""
    return tuple(format_of(path).left_out(path))


def format_of(path: Path) -> Format:
    """The format of a file. Raises UserError, naming the known ones, if it has none of them."""
    head = read_head(path, _HEAD_BYTES)
    for known in FORMATS:
        if known.recognises(head):
            return known
    names = "; ".join(known.name for known in FORMATS)
    raise UserError(f"{path}: holds no measurements of a known format; known are {names}")


def filtered(records: tuple[Record, ...], where: Mapping[str, str], origin: str) -> tuple[Record, ...]:
    """The records whose fields and tags have these values. Raises UserError, beginning with `origin`, if none does."""
    for name, wanted in where.items():
        values = [record.column(name) for record in records]
        present = sorted({value for value in values if value is not None})
        if not present:
            raise UserError(f"{origin}: no row has '{name}'; rows have {', '.join(_columns(records))}")
        records = tuple(record for record, value in zip(records, values, strict=True) if value == wanted)
        if not records:
            shown = ", ".join(present[:20]) + (", ..." if len(present) > 20 else "")
            raise UserError(f"{origin}: no row has {name}={wanted}; there are {shown}")
    return records


def _columns(records: tuple[Record, ...]) -> list[str]:
    fields = [name for name in Record.model_fields if name not in ("work", "tags", "version")]
    used = [name for name in fields if any(getattr(record, name) not in (None, "", ()) for record in records)]
    return [KIND, *used, *sorted({tag for record in records for tag in record.tags})]


def _read_jsonl(path: Path, stated: Origin) -> tuple[Record, ...]:
    lines = read_text(path).encode().split(b"\n")
    # A record counts once its line ends.
    return tuple(decode(line, f"{path}:{number}") for number, line in enumerate(lines[:-1], start=1))


def _has_columns(fit: Callable[[tuple[str, ...]], bool]) -> Callable[[str], bool]:
    return lambda head: fit(header(_first_line(head)))


def _first_line(head: str) -> str:
    return next((line for line in head.splitlines() if line.strip(" ,")), "")


def _is_lookup_table(head: str, once_for_all: bool) -> bool:
    keys = [key for line in head.splitlines() if is_lookup_key(key := line.strip().strip("'\"?{ "))]
    return bool(keys) and once_for_all == any(scheme_of(key) == "once-for-all" for key in keys)


def _is_onnxruntime_profile(head: str) -> bool:
    return head.lstrip().startswith("[") and '"cat"' in head and ('"Session"' in head or '"Node"' in head)


FORMATS = (
    Format("records (JSON lines)", lambda head: head.startswith('{"version":'), _read_jsonl),
    Format("records (CSV)", _has_columns(is_header), lambda path, stated: read_csv(path)),
    Format("blocks (CSV: h_in, c_in, c_out, c_expand, ...)", _has_columns(blocks_csv.COLUMNS.fit), blocks_csv.read),
    Format("ProxylessNAS blocks (CSV)", _has_columns(proxyless_csv.COLUMNS.fit), proxyless_csv.read),
    Format("GPU kernels (CSV)", _has_columns(gpu_kernels_csv.COLUMNS.fit), gpu_kernels_csv.read),
    Format("TopHub (CSV)", _has_columns(tophub_csv.COLUMNS.fit), tophub_csv.read, tophub_csv.left_out),
    Format("networks (CSV)", _has_columns(networks_csv.COLUMNS.fit), networks_csv.read, networks_csv.left_out),
    Format("networks by device (CSV)", _has_columns(e2e_matrix_csv.is_matrix), e2e_matrix_csv.read),
    Format("once-for-all look-up table (YAML)", lambda head: _is_lookup_table(head, True), ofa_yaml.read),
    Format("ProxylessNAS look-up table (YAML)", lambda head: _is_lookup_table(head, False), proxyless_yaml.read),
    Format("LiteRT benchmark_model profile", litert_profile.is_profile, litert_profile.read),
    Format(
        "onnxruntime profile (JSON)", _is_onnxruntime_profile, onnxruntime_profile.read, onnxruntime_profile.left_out
    ),
)
