"""How long generated GPU kernels take: what is counted in their text, over rates that measured GPUs have."""
