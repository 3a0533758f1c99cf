"""The tuner: measures the kernels that a target offers for each layer, keeps records, and chooses by them."""
