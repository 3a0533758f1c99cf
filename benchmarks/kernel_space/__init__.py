"""Kernels of random networks of the MobileNetV3 space, measured where they stand, and what predicts them."""
