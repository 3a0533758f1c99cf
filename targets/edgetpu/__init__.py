"""A systolic-array accelerator of int8 networks, and its emulator."""
