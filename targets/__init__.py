"""Where it runs: one folder per target, hardware as data."""
