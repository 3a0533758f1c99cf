"""How: layers to kernels, kernels to objects, objects to a native program. Knows no target by name."""
