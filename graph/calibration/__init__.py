"""Calibration: which values the tensors of a network take on samples, and the integers' range for them."""
