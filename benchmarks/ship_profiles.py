"""Fit the profiles that ship with mnv3c to the published measurements, by the very commands that each file states.

    python benchmarks/ship_profiles.py [--data ../shared/data] [--output profiles/shipped]

A profile of few rows starts from that of a device of the same kind. Only fitted numbers are written, no row. Profiles
of this host's own classes are made by benchmarks/host_profile.py, which measures.
"""

import argparse
import sys
from pathlib import Path

from mnv3c.cli.app import main as mnv3c

ROOT = Path(__file__).parents[1]
MISSING = 3
GPU_TABLE, NETWORKS = "kernels_gpu_tflite_fp16.csv", "e2e_tflite_cnn_e2e_us.csv"
# Name, table, the profile to start from, and the rows to take.
PROFILES: tuple[tuple[str, str, str, str], ...] = (
    ("pixel4-cpu-tflite", "blocks_pixel4_cpu_tflite_fp32.csv", "", ""),
    ("pixel6-cpu-tflite", "blocks_pixel6_cpu_tflite_fp32.csv", "", ""),
    ("pixel1-cpu-tflite", "blocks_pixel1_cpu_tflite_fp32.csv", "pixel4-cpu-tflite", ""),
    ("pixel1-cpu-tflite2018", "blocks_pixel1_cpu_tflite2018_fp32.csv", "pixel4-cpu-tflite", ""),
    ("xiaomi11-cpu-tflite", "blocks_xiaomi11_cpu_tflite_fp32.csv", "pixel4-cpu-tflite", ""),
    ("note10-cpu-tflite", "blocks_note10_cpu_tflite_fp32.csv", "pixel4-cpu-tflite", ""),
    ("adreno640-gpu-tflite", GPU_TABLE, "", "device=pixel4"),
    ("adreno616-gpu-tflite", GPU_TABLE, "", "device=mi8se"),
    ("powervr-gpu-tflite", GPU_TABLE, "", "device=a03s"),
    ("ultra96-dpu", "blocks_ultra96_dpu_int8.csv", "", ""),
)


def command(name: str, table: str, prior: str, where: str, data: Path, output: Path) -> list[str]:
    words = ["calibrate", str(data / table), "--name", name, "-o", str(output / f"{name}.yaml")]
    if prior:
        words += ["--prior", str(output / f"{prior}.yaml")]
    if where:
        words += ["--where", where, "--networks", str(data / NETWORKS)]
    return words


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the tables")
    parser.add_argument("--output", type=Path, default=ROOT / "profiles" / "shipped", help="folder of the profiles")
    parser.add_argument("--only", metavar="NAME", choices=[name for name, *_ in PROFILES], help="one profile")
    options = parser.parse_args(words)
    if not options.data.is_dir():
        print(f"{options.data}: the published measurements are not here", file=sys.stderr)
        return MISSING
    options.output.mkdir(parents=True, exist_ok=True)
    for name, table, prior, where in PROFILES:
        if options.only in (None, name):
            try:
                mnv3c(command(name, table, prior, where, options.data, options.output))
            except SystemExit as leaving:
                if leaving.code:
                    return int(leaving.code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
