"""What is computed: the IR, the networks, the passes, the importers. Knows no TVM and no target."""
