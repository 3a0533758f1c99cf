"""End-to-end latencies of networks from papers and READMEs: `e2e_mobile_networks.csv`.

`source,model,precision,device,unit,threads,latency_ms_or_value,note`: `unit` is the processor. A row counts if its
value is one number of milliseconds and its number of threads is known; the others are left out (`left_out` tells why):
throughputs (a note that begins with FPS), raw rows of several numbers, and "all big" or "multi" for the threads.
Nothing tells which statistic a value is; it is taken to be a mean.
"""

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

from mnv3c.profiles.readers.csv_table import Columns, Row, read_rows
from mnv3c.profiles.readers.origin import NOTHING_STATED, Origin
from mnv3c.profiles.record import Record, record_of

COLUMNS = Columns(required=("source", "model", "precision", "device", "unit", "threads", "latency_ms_or_value", "note"))
# Which runtime a source measured; the papers and READMEs say TFLite.
_RUNTIMES = MappingProxyType(
    {
        "XNNPACK": "tflite-xnnpack",
        "TF-slim": "tflite",
        "MNv3-paper": "tflite",
        "MnasNet-README": "tflite",
        "Paddle-Lite": "paddle-lite",
        "Bolt": "bolt",
        "Coral": "edgetpu",
    }
)
_ONE_THREAD = ("1", "1 big core", "1 large core", "1 large core?")


def read(path: Path, stated: Origin = NOTHING_STATED) -> tuple[Record, ...]:
    """The records of a table of networks. Raises UserError naming file, line and column."""
    rows = read_rows(path, COLUMNS)
    return tuple(_record(row, stated) for row in rows if _why_not(row) is None)


def left_out(path: Path) -> Iterator[str]:
    """A line for each row that `read` leaves out, and why."""
    for row in read_rows(path, COLUMNS):
        reason = _why_not(row)
        if reason is not None:
            yield f"{row.origin}: {row.word('model')} on {row.word('device')}: {reason}"


def _why_not(row: Row) -> str | None:
    """Why a row holds no latency that can be used; None if it does."""
    note = row.text("note") or ""
    if note.upper().startswith("FPS"):
        return "frames per second, not a latency"
    if note.startswith("raw row"):
        return "several numbers in one cell"
    if _threads(row) is None:
        return f"the number of threads is not known: '{row.text('threads') or ''}'"
    return None


def _threads(row: Row) -> int | None:
    text = row.text("threads")
    if text is None:
        # Host threads do not share the work of an accelerator.
        return None if _processor(row).startswith("cpu") else 1
    if text in _ONE_THREAD:
        return 1
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 10_000 else None


def _processor(row: Row) -> str:
    """`CPU ARMV8` is cpu:armv8, `GPU(OpenCL)` is gpu:opencl."""
    words = row.word("unit").lower().replace("(", " ").replace(")", " ").split()
    return ":".join(words)


def _record(row: Row, stated: Origin) -> Record:
    source = row.word("source")
    note = row.text("note")
    values = stated.over(Origin(runtime=_RUNTIMES.get(source))).record_fields() | {
        "work": row.network("model"),
        "device": row.word("device"),
        "processor": _processor(row),
        "precision": row.word("precision"),
        "threads": _threads(row),
        "latency_ms": row.number("latency_ms_or_value"),
        "statistic": "mean",
        "source": source,
        "tags": {} if note is None else {"note": note},
    }
    return record_of(values, row.origin)
