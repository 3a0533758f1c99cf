"""Hypothesis strategies of works and records."""

from typing import Any

from hypothesis import strategies as st
from tests.graph.test_layer import keys

from mnv3c.profiles.block import BLOCK_ACTIVATIONS, Block
from mnv3c.profiles.record import Record
from mnv3c.profiles.work import GroupWork, KernelWork, LayerWork, NetworkWork, NodeWork, Work

SMALL = st.integers(1, 96)
# Printable characters and single spaces within.
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12)
NAMES = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters=[*map(chr, range(32)), "\x7f"]), max_size=20)
TIMES = st.floats(0, 1e300, exclude_min=True)
LAYERS = st.builds(LayerWork, keys(), st.sampled_from(["fp32", "fp16"]))


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    c_in, c_out, stride = draw(SMALL), draw(SMALL), draw(st.integers(1, 3))
    if draw(st.booleans()):
        c_out = c_in
    return Block(
        h_in=draw(SMALL),
        c_in=c_in,
        c_out=c_out,
        c_expand=draw(SMALL),
        kernel=draw(st.integers(1, 9)),
        stride=stride,
        se=draw(st.booleans()),
        activation=draw(st.sampled_from(BLOCK_ACTIVATIONS)),
        skip=Block.may_skip(c_in, c_out, stride) and draw(st.booleans()),
    )


@st.composite
def groups(draw: st.DrawFn) -> GroupWork:
    parts = draw(st.lists(LAYERS, min_size=2, max_size=4))
    sources = tuple(
        tuple(draw(st.integers(-3, index - 1)) for _ in part.key.inputs) for index, part in enumerate(parts)
    )
    return GroupWork(tuple(parts), sources)


WORKS: st.SearchStrategy[Work] = st.one_of(
    LAYERS,
    blocks(),
    groups(),
    st.builds(KernelWork, keys(), WORDS),
    st.builds(NodeWork, WORDS, NAMES),
    st.builds(NetworkWork, WORDS, st.lists(keys(), max_size=3).map(tuple)),
)


@st.composite
def records(draw: st.DrawFn) -> Record:
    low, high = sorted([draw(TIMES), draw(TIMES)])
    given: dict[str, Any] = {
        "clock_hz": draw(TIMES),
        "n": draw(st.integers(1, 10**9)),
        "p10_ms": low,
        "p90_ms": high,
        "min_ms": low,
        "max_ms": high,
        "std_ms": draw(st.floats(0, 1e9)),
        "ci_low_ms": low,
        "ci_high_ms": high,
        "flags": tuple(draw(st.lists(st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True), max_size=3))),
        "tags": draw(st.dictionaries(st.sampled_from(["model", "gpu", "x-1"]), TEXTS.filter(bool))),
        "source": draw(TEXTS),
        "licence": draw(TEXTS),
        "who": draw(TEXTS),
        "when": draw(st.datetimes()).isoformat(),
        "how": draw(TEXTS),
    }
    known = draw(st.sets(st.sampled_from(sorted(given))))
    return Record(
        work=draw(WORKS),
        device=draw(NAMES),
        processor=draw(NAMES),
        runtime=draw(NAMES),
        precision=draw(NAMES),
        threads=draw(st.integers(1, 256)),
        latency_ms=draw(TIMES),
        statistic=draw(st.sampled_from(["median", "mean", "min"])),
        **{name: value for name, value in given.items() if name in known},
    )


def record(**changes: Any) -> Record:
    """A record of a block, with these fields changed."""
    values: dict[str, Any] = {
        "work": Block(56, 24, 40, 72, 5, 2, se=True, activation="relu", skip=False),
        "device": "phone",
        "processor": "cpu",
        "runtime": "tflite",
        "precision": "fp32",
        "threads": 1,
        "latency_ms": 1.5,
    }
    return Record(**{**values, **changes})
