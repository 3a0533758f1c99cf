"""The timeline in Chrome's trace event format, which https://ui.perfetto.dev and chrome://tracing open."""

from collections.abc import Iterable

from mnv3c.targets.edgetpu.emulation import Interval, Resource

_LANES: tuple[Resource, ...] = ("dma", "array", "vector", "launch")
_LAYER_LANE = len(_LANES)


def chrome_trace(network: str, device: str, clock_hz: int, intervals: Iterable[Interval]) -> dict[str, object]:
    """The document of a trace: one process for the device, a thread per resource, and one that shows the layers.

    Times are microseconds of the *emulated* machine at its clock; each event's `args` have the cycles. Format: "Trace
    Event Format", Google 2016, complete events (`ph: X`) and metadata (`ph: M`).
    """
    found = tuple(intervals)
    microseconds_per_cycle = 1e6 / clock_hz
    return {
        "displayTimeUnit": "ns",
        "otherData": {"network": network, "device": device, "clock_hz": clock_hz, "time": "emulated, not measured"},
        "traceEvents": [
            *_names(f"{network} on {device}"),
            *(_event(interval, microseconds_per_cycle) for interval in found),
            *_layers(found, microseconds_per_cycle),
        ],
    }


def _names(process: str) -> list[dict[str, object]]:
    named = [{"name": "process_name", "ph": "M", "pid": 0, "tid": 0, "args": {"name": process}}]
    for lane, name in enumerate((*_LANES, "layers")):
        named.append({"name": "thread_name", "ph": "M", "pid": 0, "tid": lane, "args": {"name": name}})
        named.append({"name": "thread_sort_index", "ph": "M", "pid": 0, "tid": lane, "args": {"sort_index": lane}})
    return named


def _event(interval: Interval, microseconds_per_cycle: float) -> dict[str, object]:
    return _complete(
        f"{interval.what} {interval.layer}",
        interval.resource,
        _LANES.index(interval.resource),
        (interval.start_cycle, interval.end_cycle),
        microseconds_per_cycle,
    )


def _layers(intervals: tuple[Interval, ...], microseconds_per_cycle: float) -> list[dict[str, object]]:
    spans: dict[str, tuple[int, int]] = {}
    for interval in intervals:
        start, end = spans.get(interval.layer, (interval.start_cycle, interval.end_cycle))
        spans[interval.layer] = (min(start, interval.start_cycle), max(end, interval.end_cycle))
    # A prefetch of the next layer's weights begins before the layer does; nested spans in one lane must not overlap.
    events, free = [], 0
    for layer, (start, end) in spans.items():
        begin = min(max(start, free), end)
        events.append(_complete(layer, "layer", _LAYER_LANE, (begin, end), microseconds_per_cycle))
        free = max(free, end)
    return events


def _complete(
    name: str, category: str, lane: int, cycles: tuple[int, int], microseconds_per_cycle: float
) -> dict[str, object]:
    start, end = cycles
    return {
        "name": name,
        "cat": category,
        "ph": "X",
        "pid": 0,
        "tid": lane,
        "ts": round(start * microseconds_per_cycle, 6),
        "dur": round((end - start) * microseconds_per_cycle, 6),
        "args": {"start_cycle": start, "end_cycle": end},
    }
