"""64-bit Arm CPUs."""
