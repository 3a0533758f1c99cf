"""Training in PyTorch (extra `train`): graphs as differentiable functions, data, weights taken over from a parent."""
