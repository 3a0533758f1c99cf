"""Times mnv3c beside the runtimes that people use, in one interleaved run: python benchmarks/peers.py --help."""

from peers.command import main

if __name__ == "__main__":
    main()
