"""A fair race: the same network, weights, input and threads for every runtime, interleaved in one run."""
