"""Tables as nn-Meter's `profiled_results.json`, from which its predictor builder trains.

The form is that of `nn_meter/builder/backend_meta/utils.py` and `predictor_builder/extract_feature.py` of nn-meter 2.0
(MIT): kernels by type, each with `model`, `config` and `latency` as text, `MEAN +- STD` in milliseconds. nn-Meter drops
kernels without `model`, the file of a model, and does not open it; here it is the entry's own text. Layers bear
nn-Meter's names of kernels; a block is of the type `mbconv-ACTIVATION`, or `mbconv-se-ACTIVATION` with squeeze-excite,
which nn-Meter takes as a kernel of the user's own, with the features HW, CIN, COUT, KERNEL_SIZE, STRIDES, EXPANSION
(in channels). `benchmarks/nn_meter_client.py` has nn-Meter read it.
"""

import json
from pathlib import Path
from typing import Any

from mnv3c.graph.errors import UserError
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.ops import Conv2d, Dense, GlobalAveragePool
from mnv3c.graph.whole_file import write_whole
from mnv3c.profiles.block import Block
from mnv3c.profiles.lut.table import Table
from mnv3c.profiles.lut.units import Unit

# Standard deviations on both sides of the mean that hold 90 % of a normal distribution.
_Z90 = 1.6449


def export_nn_meter(table: Table, folder: Path) -> tuple[Path, ...]:
    """`profiled_results.json`.

    Raises UserError for a layer that nn-Meter has no kernel for, MissingError where the disk refuses.
    """
    found: dict[str, dict[str, Any]] = {}
    for entry in table.entries:
        kernel, config = _kernel(entry.unit)
        of_kernel = found.setdefault(kernel, {})
        of_kernel[f"{kernel}_{len(of_kernel)}"] = {
            "model": str(entry.unit),
            "config": config,
            "latency": f"{entry.p50_ms!r} +- {entry.width_ms / (2 * _Z90)!r}",
            "provenance": entry.provenance,
        }
    path = folder / "profiled_results.json"
    write_whole(path, json.dumps(found, indent=1) + "\n")
    return (path,)


def _kernel(unit: Unit) -> tuple[str, dict[str, int]]:
    if isinstance(unit, Block):
        config = {"HW": unit.h_in, "CIN": unit.c_in, "COUT": unit.c_out, "KERNEL_SIZE": unit.kernel}
        kind = f"mbconv{'-se' if unit.se else ''}-{unit.activation}"
        return kind, config | {"STRIDES": unit.stride, "EXPANSION": unit.c_expand}
    return _layer_kernel(unit.key)


def _layer_kernel(key: LayerKey) -> tuple[str, dict[str, int]]:
    c_in, c_out = key.inputs[0].channels, key.output.channels
    if isinstance(key.op, Dense):
        return "fc", {"CIN": c_in, "COUT": c_out}
    size = key.inputs[0].spatial[0]
    if isinstance(key.op, GlobalAveragePool):
        return "global-avgpool", {"HW": size, "CIN": c_in}
    if not isinstance(key.op, Conv2d) or key.groups not in (1, c_in) or key.residual:
        raise UserError(f"nn-Meter has no kernel for '{key}'; json, csv and parquet hold every unit")
    kind = "conv" if key.groups == 1 else "dwconv"
    words = [kind, "bn", *([key.activation] if key.activation else [])]
    config = {"HW": size, "CIN": c_in, "COUT": c_out, "KERNEL_SIZE": key.kernel[0], "STRIDES": key.stride[0]}
    return "-".join(words), config
