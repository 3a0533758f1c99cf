"""The cost model: physics with fitted coefficients, a smooth residual on top, and intervals that were tested."""
