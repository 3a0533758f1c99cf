"""Readers of published formats of measurements, one per file; `detect.read_records` picks the one that fits."""
