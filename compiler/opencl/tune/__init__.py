"""The tuner for GPUs' kernels where there is no GPU: they are measured through PoCL, on this machine's CPU."""
