"""OpenCL kernels for mobile GPUs, shared by the targets adreno and mali, and the model of their devices."""
