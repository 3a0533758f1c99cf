"""Qualcomm's Adreno GPUs."""
