"""Tables for once-for-all's and ProxylessNAS's clients: `RESOLUTION_lookup_table.yaml`, a file a resolution.

A line is `KEY: {mean: 0.93, std: 0.02}`, in milliseconds, with `count` where it was measured; `std` is the interval's
half-width over 1.645. These formats have no place for what a network takes beside its units, so `Logits`, which every
network has once, holds it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mnv3c.graph.ops import Dense, GlobalAveragePool
from mnv3c.graph.whole_file import write_whole
from mnv3c.profiles.lut.lookup_text import logits_key, lookup_key
from mnv3c.profiles.lut.table import Entry, Table
from mnv3c.profiles.readers.lookup_keys import Scheme
from mnv3c.profiles.work import LayerWork

# Standard deviations on both sides of the mean that hold 90 % of a normal distribution.
_Z90 = 1.6449


def export_ofa(table: Table, folder: Path) -> tuple[Path, ...]:
    """Once-for-all's tables of MobileNetV3.

    Raises UserError for a unit that their keys cannot name, MissingError where the disk refuses.
    """
    return _export(table, folder, "once-for-all")


def export_proxyless(table: Table, folder: Path) -> tuple[Path, ...]:
    """ProxylessNAS's tables. Raises as `export_ofa` does."""
    return _export(table, folder, "proxylessnas")


def _export(table: Table, folder: Path, scheme: Scheme) -> tuple[Path, ...]:
    paths = []
    for resolution in table.resolutions:
        entries = table.of_resolution(resolution)
        lines = _ofa_lines(entries, table) if scheme == "once-for-all" else _proxyless_lines(entries, table)
        paths.append(folder / f"{resolution}_lookup_table.yaml")
        write_whole(paths[-1], "".join(lines))
    return tuple(paths)


def _ofa_lines(entries: Sequence[Entry], table: Table) -> Iterator[str]:
    for entry in entries:
        beside_ms = table.network_ms if _is(entry, Dense) else 0.0
        yield _line(lookup_key(entry.unit, "once-for-all"), [entry], beside_ms)


def _proxyless_lines(entries: Sequence[Entry], table: Table) -> Iterator[str]:
    for entry in entries:
        if not _is(entry, GlobalAveragePool, Dense):
            yield _line(lookup_key(entry.unit, "proxylessnas"), [entry])
    for pool in entries:
        for dense in entries:
            if isinstance(pool.unit, LayerWork) and isinstance(dense.unit, LayerWork) and _fit(pool, dense):
                yield _line(logits_key(pool.unit.key, dense.unit.key), [pool, dense], table.network_ms)


def _fit(pool: Entry, dense: Entry) -> bool:
    """Whether the classifier reads what the pool leaves."""
    if not (_is(pool, GlobalAveragePool) and _is(dense, Dense)):
        return False
    return pool.unit.layer_keys()[0].output.channels == dense.unit.layer_keys()[0].inputs[0].channels


def _is(entry: Entry, *ops: type) -> bool:
    return isinstance(entry.unit, LayerWork) and isinstance(entry.unit.key.op, ops)


def _line(key: str, entries: Sequence[Entry], beside_ms: float = 0.0) -> str:
    mean_ms = sum(entry.p50_ms for entry in entries) + beside_ms
    std_ms = sum(entry.width_ms for entry in entries) / (2 * _Z90)
    counts = [entry.n for entry in entries if entry.n is not None]
    count = f"count: {min(counts)}, " if len(counts) == len(entries) else ""
    return f"{key}: {{{count}mean: {_number(mean_ms)}, std: {_number(std_ms)}}}\n"


def _number(value: float) -> str:
    """All digits, in a form that YAML 1.1 reads as a number: with a point, also before an exponent."""
    text = repr(float(value))
    mantissa, exponent, power = text.partition("e")
    return f"{mantissa}.0{exponent}{power}" if exponent and "." not in mantissa else text
