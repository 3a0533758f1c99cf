"""How fast: measurements, profiles, the cost model."""
