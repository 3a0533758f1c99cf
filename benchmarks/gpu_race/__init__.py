"""The race of GPU kernels: what takes part, how it is launched, what it found."""
