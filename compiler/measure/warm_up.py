"""After how many runs a program's times are steady, from probes that start it anew."""

from collections.abc import Sequence
from statistics import median

PROBE_RUNS = 5  # a probe's time is the median of so many runs after the warm-up
_COUNTS = (0, 1, 2, 4, 8, 16, 32, 64)
_LEAST_PROBES = 3
_PROBE_S = 5.0
_SHARE = 0.03
_LEAST = 2


def probe_counts(run_s: float) -> tuple[int, ...]:
    """After how many runs to time a program whose run takes so long: until 64, or 5 s are spent, thrice at least."""
    spent_s = 0.0
    counts: list[int] = []
    for count in _COUNTS:
        spent_s += (count + PROBE_RUNS) * run_s
        if len(counts) >= _LEAST_PROBES and spent_s > _PROBE_S:
            break
        counts.append(count)
    return tuple(counts)


def steady_after(counts: Sequence[int], times_ms: Sequence[float]) -> int:
    """Runs to leave out before timing, 2 at least, from times taken after so many runs.

    It is the least count from which on no time is more than 3 % above the median of the last three.
    """
    bound_ms = median(times_ms[-_LEAST_PROBES:]) * (1 + _SHARE)
    warm_up = counts[-1]
    for count, time_ms in zip(reversed(counts), reversed(times_ms), strict=True):
        if time_ms > bound_ms:
            break
        warm_up = count
    return max(warm_up, _LEAST)
