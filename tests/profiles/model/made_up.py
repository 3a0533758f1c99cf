"""Made-up measurements: blocks whose latency is known exactly, up to noise that is stated."""

import csv
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from mnv3c.profiles.block import Block
from mnv3c.profiles.model.dataset import dataset_of
from mnv3c.profiles.physics.accelerator import AcceleratorPhysics
from mnv3c.profiles.record import Record

COEFFICIENTS = np.array([0.4, 1.1, 0.7, 0.12, 2.0, 1.3])
BLOCK_MS = 0.1


def block(rng: np.random.Generator, heights: tuple[int, ...]) -> Block:
    """A random block at one of these heights."""
    stride = int(rng.integers(1, 3))
    c_in, c_out = (8 * int(rng.integers(2, 20)) for _ in range(2))
    skip = Block.may_skip(c_in, c_out, stride)
    expand, kernel = int(rng.integers(1, 7)) * c_in, int(rng.choice([3, 5, 7]))
    height = int(rng.choice(heights))
    return Block(height, c_in, c_out, expand, kernel, stride, bool(rng.integers(2)), "hswish", skip)


def record(work: Block, latency_ms: float, device: str = "made-up") -> Record:
    """A row of a device that does not exist."""
    return Record(
        work=work,
        device=device,
        processor="dpu",
        runtime="none",
        precision="int8",
        threads=1,
        latency_ms=latency_ms,
        source="made up",
    )


def records(count: int, seed: int = 0, noise: float = 0.0, factor: float = 1.0) -> tuple[Record, ...]:
    """Rows whose latency is the accelerator's physics with `COEFFICIENTS`, times `factor` and log-normal noise."""
    rng = np.random.default_rng(seed)
    works = {str(work): work for work in (block(rng, tuple(range(7, 113, 7))) for _ in range(count))}
    bare = [record(work, 1.0) for work in works.values()]
    table = dataset_of(bare, "block").table
    layer_ms = AcceleratorPhysics().terms(table) @ COEFFICIENTS
    unit_ms = (np.bincount(table.owner, layer_ms) + BLOCK_MS) * factor * np.exp(noise * rng.standard_normal(len(bare)))
    return tuple(record(work, float(ms)) for work, ms in zip(works.values(), unit_ms, strict=True))


def write_block_table(path: Path, rows: Sequence[Record]) -> None:
    """Rows of blocks as the public tables have them, which tell of no device."""
    columns = [field.name for field in fields(Block)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "latency_ms"])
        for row in rows:
            values = (getattr(row.work, column) for column in columns)
            writer.writerow([*(int(v) if isinstance(v, bool) else v for v in values), row.latency_ms])
