"""The networks that Vela is asked about, quantised, as .tflite files: python benchmarks/vela_networks.py --help.

Then benchmarks/vela_rows.py makes the rows that tests/targets/edgetpu/test_vela.py compares with:

    python benchmarks/vela_networks.py build/vela
    python benchmarks/vela_rows.py --vela vela/bin/vela build/vela/*.tflite

Weights are seeded, not trained (Vela compresses them, so trained ones make other bytes), and calibration sees one
seeded image. Files are called as their networks, tensors as the layers that make them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import typer
from command_line import run_command_line
from mobilenets import mobilenet_v1, mobilenet_v2

from mnv3c.graph.calibration.samples import seeded_samples
from mnv3c.graph.exporters.tflite import export_tflite
from mnv3c.graph.ir import Graph
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.passes.quantize import Quantize

NETWORKS: Mapping[str, Callable[[], Graph]] = MappingProxyType(
    {
        "mobilenet_v1": mobilenet_v1,
        "mobilenet_v2": mobilenet_v2,
        "mobilenet_v3_large": lambda: mobilenet_v3("large"),
        "mobilenet_v3_large_hswish_none": lambda: mobilenet_v3("large", hswish="none"),
        "mobilenet_v3_large_minimalistic": lambda: mobilenet_v3("large", minimalistic=True),
        "mobilenet_v3_large_no_se": lambda: mobilenet_v3("large", se=False),
        "mobilenet_v3_small": lambda: mobilenet_v3("small"),
    }
)


def main() -> None:
    """Run the command; exit 2 for wrong input and 3 for what is missing, with one line on stderr."""
    run_command_line("vela_networks", vela_networks)


def vela_networks(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the files go; it is made.")],
) -> None:
    """Quantise the networks and write one .tflite file each.

    Example: python benchmarks/vela_networks.py build/vela
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in NETWORKS.items():
        graph = make()
        path = folder / f"{name}.tflite"
        export_tflite(Quantize().run(graph, seeded_samples(graph, 1, 0)), path)
        typer.echo(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
