"""Networks of 8-bit integers: what a layer computes exactly, and how its integers stand for real numbers."""
