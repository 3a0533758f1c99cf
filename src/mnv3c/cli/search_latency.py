"""Where the latencies of `mnv3c search` come from, and how they are labelled: predicted, emulated, from a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

from mnv3c.cli.latency_source import find_source
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph
from mnv3c.profiles.lut.table import PROVENANCES, Table
from mnv3c.profiles.lut.table_file import read_table
from mnv3c.profiles.lut.units import Unit, units_of_graph
from mnv3c.search.architecture import Architecture
from mnv3c.search.latency import EmulatedLatency, Latency, ProfileLatency
from mnv3c.search.space import Space
from mnv3c.search.tabulated import TableLatency, netadapt_units
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.units import format_hertz

# With a small divisor there are millions; so many are looked up in a few seconds.
_MOST_PROPOSED = 100_000


@dataclass(frozen=True)
class LatencySource:
    """Latencies of graphs, and what they are: `text` as `predicted by pixel4-cpu-tflite`, `document` for JSON.

    `table` is the file that they are read from, if they are: networks beyond it take infinitely long, so that no search
    takes them.
    """

    latency: Latency
    text: str
    document: dict[str, Any]
    table: Path | None = None

    def label(self, graph: Graph) -> str:
        """What the latency of a graph is, for people; from a table, with how its entries came about."""
        if not isinstance(self.latency, TableLatency):
            return self.text
        counts = self.latency.latency(graph).counts
        return f"{self.text} ({', '.join(f'{counts[kind]} entries {kind}' for kind in PROVENANCES if counts[kind])})"

    def of_best(self, graph: Graph) -> dict[str, Any]:
        """What is known of the found network beside its latency, for JSON."""
        if not isinstance(self.latency, TableLatency):
            return {}
        found = self.latency.latency(graph)
        return {"low_ms": found.low_ms, "high_ms": found.high_ms, "entries": dict(found.counts)}

    def require_space(self, space: Space, resolution: int) -> None:
        """Raises UserError where a network of the space has no latency."""
        if not isinstance(self.latency, TableLatency):
            return
        units = space.units_of_all(resolution)
        if lacks := self._lacks(self.latency.table, units, f"space '{space.name}' at {resolution}"):
            wanted = f"mnv3c lut --space {space.name} --resolutions {resolution}"
            raise UserError(f"{lacks}; {wanted} makes such a table; or give --device")

    def require_start(self, start: Architecture, divisor: int) -> str:
        """What NetAdapt has to do without, for people; empty where that is nothing.

        Of very many blocks and layers that may be proposed the first 100,000 are looked up. Raises UserError where the
        start has no latency.
        """
        if not isinstance(self.latency, TableLatency):
            return ""
        if lacks := self._lacks(self.latency.table, units_of_graph(start.graph()), f"'{start.name}'"):
            wanted = "mnv3c lut --space of a space that has it (netadapt-v3-small, netadapt-v3-large, a .yaml)"
            raise UserError(f"{lacks}; {wanted} makes such a table; or give --device")
        proposed = tuple(islice(netadapt_units(start, divisor), _MOST_PROPOSED))
        more = " (others were not looked up)" if len(proposed) == _MOST_PROPOSED else ""
        lacks = self._lacks(self.latency.table, proposed, f"what may be proposed{more}")
        return f"{lacks}; proposals with those are passed over" if lacks else ""

    def _lacks(self, table: Table, units: Sequence[Unit], what: str) -> str:
        if not (missing := table.missing(units)):
            return ""
        count = f"{len(missing):,} of {len(units):,}"
        return f"{self.table}: has no entry for {count} blocks and layers of {what}, as '{missing[0]}'"


def latency_source(device: str | None, table: Path | None) -> LatencySource:
    """What `--device` or `--table` names. Raises UserError unless one of them is given, and for what cannot be read."""
    if (device is None) == (table is None):
        raise UserError("give --device NAME (a profile or an accelerator) or --table FILE (a lut.json), one of the two")
    if table is not None:
        return _tabulated(table)
    source = find_source(str(device))
    if isinstance(source, AcceleratorDevice):
        clock_hz = int(source.clock_hz)
        document = {"kind": "emulated", "device": source.name, "clock_hz": clock_hz}
        text = f"emulated on {source.name} at {format_hertz(clock_hz)}"
        return LatencySource(EmulatedLatency(source), text, document)
    return LatencySource(ProfileLatency(source), f"predicted by {device}", {"kind": "predicted", "profile": device})


def _tabulated(path: Path) -> LatencySource:
    table = read_table(path)
    document = {
        "kind": "table",
        "file": str(path),
        "space": table.space,
        "device": table.identity.device,
        "entries": dict(table.counts),
        "made_by": dict(table.made_by),
    }
    text = f"from the table {path} of {table.identity.device}"
    return LatencySource(TableLatency(table, beyond_ms=inf), text, document, path)
