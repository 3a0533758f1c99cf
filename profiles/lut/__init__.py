"""Look-up tables: the latency of every block and layer of a space of networks on one device."""
