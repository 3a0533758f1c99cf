"""64-bit x86 CPUs."""
