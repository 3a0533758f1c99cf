"""Arm's Mali GPUs, and those that are programmed alike: tile-based, OpenCL, no texture path needed."""
