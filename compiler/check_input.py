"""The input that a network is checked with: the same numbers here and inside NAME-bench, on every processor."""

import numpy as np
import numpy.typing as npt


def check_input(elements: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return `elements` float32 numbers, uniform in [-1, 1); number i depends on nothing but `seed` and i.

    They are the upper 24 bits of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
    2014), scaled exactly: bit-identical to `mnv3c_check_input` in `runtime/check.c`.
    """
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, elements + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    significand = (z >> np.uint64(40)).astype(np.int32) - np.int32(1 << 23)
    return significand.astype(np.float32) / np.float32(1 << 23)
