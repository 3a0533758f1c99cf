"""Kills tuning runs, and tunes among hostile candidates: python benchmarks/tuner_abuse.py --help."""

import sys
from pathlib import Path

# The hostile candidates are the tests' own; worker processes import them by name too.
sys.path.insert(1, str(Path(__file__).parents[1]))

from abuse.command import main

if __name__ == "__main__":
    main()
