"""Where figures come from: what the caller states, what a file's name tells, and "unknown" for the rest."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mnv3c.graph.errors import UserError
from mnv3c.profiles.record import UNKNOWN

# KIND_DEVICE_PROCESSOR[_RUNTIME]_PRECISION, KIND_PROCESSOR[_RUNTIME]_PRECISION
_NAME = re.compile(
    r"[a-z0-9]+(?:_(?P<device>[a-z0-9-]+))?_(?P<processor>cpu|gpu|dpu|npu|tpu|dsp)"
    r"(?:_(?P<runtime>[a-z0-9.-]+))?_(?P<precision>fp32|fp16|bf16|int8)(?:[._-].*)?"
)


@dataclass(frozen=True)
class Origin:
    """What is known of where a file's figures come from; None where nobody has said. Fields are those of `Record`."""

    device: str | None = None
    processor: str | None = None
    runtime: str | None = None
    precision: str | None = None
    threads: int | None = None
    source: str | None = None
    licence: str | None = None

    def over(self, other: "Origin") -> "Origin":
        """This, and what only the other one knows."""
        mine = {field.name: getattr(self, field.name) for field in fields(self)}
        return Origin(**{name: getattr(other, name) if value is None else value for name, value in mine.items()})

    def record_fields(self) -> dict[str, Any]:
        """Fields of a record: "unknown" and one thread where nothing is known."""
        return {
            "device": self.device or UNKNOWN,
            "processor": self.processor or UNKNOWN,
            "runtime": self.runtime or UNKNOWN,
            "precision": self.precision or UNKNOWN,
            "threads": 1 if self.threads is None else self.threads,
            "source": self.source or "",
            "licence": self.licence or "",
        }


NOTHING_STATED = Origin()


def stated_origin(values: Mapping[str, str]) -> Origin:
    """What a user states. Raises UserError naming an unknown field, and for threads that are no positive number."""
    names = [field.name for field in fields(Origin)]
    if unknown := sorted(values.keys() - set(names)):
        raise UserError(f"'{unknown[0]}' cannot be stated of rows: allowed are {', '.join(names)}")
    threads = values.get("threads", "1")
    if not (threads.isascii() and threads.isdecimal() and 0 < len(threads) < 6 and int(threads)):
        raise UserError(f"threads must be a positive number, not '{threads}'")
    texts = {name: value for name, value in values.items() if name != "threads"}
    return Origin(**texts, threads=int(threads) if "threads" in values else None)


def named_origin(path: Path) -> Origin:
    """What a name such as `blocks_pixel4_cpu_tflite_fp32.csv` or `kernels_gpu_tflite_fp16.csv` tells.

    The file itself is the source. A name of another form tells no more than that.
    """
    match = _NAME.fullmatch(path.name.lower())
    if match is None:
        return Origin(source=path.name)
    device, processor, runtime, precision = match.group("device", "processor", "runtime", "precision")
    return Origin(device, processor, runtime, precision, source=path.name)
