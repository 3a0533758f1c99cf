"""The measured peak of one core, from a loop of fused multiply-adds compiled for this machine."""

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

_SOURCE = Path(__file__).with_name("peak.c")
# Without a preference clang halves vectors of 512 bits on some processors, and with them the peak.
_FLAGS = ("-O3", "-mcpu=native", "-mprefer-vector-width=512", "-ffp-contract=fast", "-fno-sanitize=all")


def peak_gflops(cpu: int) -> float | None:
    """float32 GFLOP/s of `cpu`, a fused multiply-add counted as two; None without the compiler that comes from pip."""
    if importlib.util.find_spec("ziglang") is None:
        return None
    with tempfile.TemporaryDirectory(prefix="peak-") as folder:
        program = Path(folder) / "peak"
        compiled = subprocess.run(
            (sys.executable, "-m", "ziglang", "cc", *_FLAGS, str(_SOURCE), "-o", str(program)),
            capture_output=True,
            check=False,
        )
        if compiled.returncode != 0:
            return None
        pinned = "import os,sys;hasattr(os,'sched_setaffinity') and os.sched_setaffinity(0,[int(sys.argv[1])]);"
        command = (sys.executable, "-c", f"{pinned}os.execv(sys.argv[2],sys.argv[2:])", str(cpu), str(program))
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
