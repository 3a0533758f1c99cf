"""Networks for GPUs: OpenCL kernels as readable source, and a C program of our own that drives them."""
