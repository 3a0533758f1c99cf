"""The emulator: how fast it is, and how its machines compare with published times of real chips.

python benchmarks/emulator.py speed      wall time of timing, sweeping and executing V3-Large: the emulator's own
python benchmarks/emulator.py chips      MobileNetV1, V2, V3 on `edgetpu-like`, beside Coral's published times
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

from benchmarks.mobilenets import mobilenet_v1, mobilenet_v2

from mnv3c.graph.calibration.samples import seeded_samples
from mnv3c.graph.ir import Graph
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.passes.quantize import Quantize
from mnv3c.search.cluster import open_workers
from mnv3c.search.sweep import places_of, sweep
from mnv3c.targets.edgetpu.backend import backend
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.emulate import emulate
from mnv3c.targets.edgetpu.settings import find_accelerator
from mnv3c.targets.edgetpu.sweep import Workload, grid
from mnv3c.targets.registry import device_names

# Median latency in ms of V1 and V2 1.0 at 224, int8, by the machine that the Edge TPU is plugged into; "Performance
# benchmarks" and the repository of Coral's examples, as collected with the project's public data.
CORAL_MS = {
    "aarch64 (Dev Board)": (2.22, 2.56),
    "x86_64": (2.17, 2.29),
    "Raspberry Pi 4B": (4.20, 4.55),
    "Raspberry Pi 3B+": (9.0, 10.61),
}
SWEEP = {
    "rows": ("8", "16", "32", "64", "128"),
    "cols": ("8", "16", "32", "64", "128"),
    "sram_bytes": ("256K", "512K", "1M", "2M", "8M"),
    "dram_bytes_per_s": ("500MB/s", "1GB/s", "2GB/s", "8GB/s"),
    "dataflow": ("ws", "os"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "chips"))
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--points", type=int, default=1000)
    arguments = parser.parse_args()
    if arguments.what == "chips":
        chips()
    else:
        speed(arguments.repeats, arguments.points)


def workload(graph: Graph) -> Workload:
    return Workload.of(run_passes(graph, default_passes()))


def speed(repeats: int, points: int) -> None:
    print(f"wall time on {os.cpu_count()} cores; of this program, not of any emulated machine")
    large = workload(mobilenet_v3("large", seed=None))
    for name in device_names("edgetpu"):
        device = find_accelerator(name)
        times_ms = _timed_ms(lambda device=device: emulate(large.name, large.jobs, large.outputs, device), repeats)  # type: ignore[misc]
        print(f"timing V3-Large on {name}: median {statistics.median(times_ms):.1f} ms, best {min(times_ms):.1f}")
    configurations = grid(SWEEP)[:points]
    begin = time.perf_counter()
    with open_workers() as workers:
        places = places_of([large], configurations)
        found = sweep([large], find_accelerator("edgetpu-like"), places, workers)
        refused = sum(bool(point.problem) for _, point in found)
    seconds = time.perf_counter() - begin
    print(f"sweep of {len(configurations)} configurations ({refused} refused): {seconds:.1f} s")
    execution(find_accelerator("edgetpu-like"))


def execution(device: AcceleratorDevice) -> None:
    graph = mobilenet_v3("large")
    network = Quantize().run(graph, seeded_samples(graph, 2, 0))
    begin = time.perf_counter()
    program = backend().lower(network, device)
    lowered = time.perf_counter()
    loaded = backend().load(program.commands, "commands", program.image)
    (port,) = loaded.inputs
    (sample,) = seeded_samples(graph, 1, 1)
    read = time.perf_counter()
    loaded.run({port.name: port.affine.quantize(sample)})
    end = time.perf_counter()
    print(
        f"V3-Large to the bit on {device.name}: planned and lowered in {lowered - begin:.2f} s, "
        f"{program.commands.count(chr(10))} lines of commands read in {read - lowered:.2f} s, run in {end - read:.2f} s"
    )


def chips() -> None:
    networks = {
        "V1": mobilenet_v1(seed=None),
        "V2": mobilenet_v2(seed=None),
        "V3-Large": mobilenet_v3("large", seed=None),
        "V3-Large minimalistic": mobilenet_v3("large", minimalistic=True, seed=None),
        "V3-Small": mobilenet_v3("small", seed=None),
    }
    work = {name: workload(graph) for name, graph in networks.items()}
    print("emulated ms, uncalibrated")
    print("device", *networks, "V1:V2", "V2:V3-Large", sep="\t")
    edge = find_accelerator("edgetpu-like")
    variants = {
        "edgetpu-like": edge,
        "  depthwise=vector": edge.with_settings({"depthwise": "vector"}),
        "  cols=32": edge.with_settings({"cols": "32"}),
        "  dataflow=os": edge.with_settings({"dataflow": "os"}),
    }
    for name, device in variants.items():
        ms = {each: emulate(each, one.jobs, one.outputs, device).total_ms for each, one in work.items()}
        ratios = (ms["V1"] / ms["V2"], ms["V2"] / ms["V3-Large"])
        print(name, *(f"{value:.3f}" for value in ms.values()), *(f"{ratio:.3f}" for ratio in ratios), sep="\t")
    print("measured by Coral, ms")
    for host, (v1_ms, v2_ms) in CORAL_MS.items():
        print(f"Edge TPU, {host}", v1_ms, v2_ms, f"V1:V2 {v1_ms / v2_ms:.3f}", sep="\t")


def _timed_ms(call: Callable[[], object], repeats: int) -> list[float]:
    call()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append((time.perf_counter() - begin) * 1e3)
    return times


if __name__ == "__main__":
    main()
