"""64-bit RISC-V CPUs."""
