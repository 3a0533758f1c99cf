"""Run by nn_meter_client.py in nn-Meter's own environment, which has no mnv3c: its reader, its kernels, its training.

Reads on stdin `{"file", "home"}`: a `profiled_results.json`, and an empty folder that stands for the user's, in which
nn-Meter looks for kernels of the user's own. Writes, for each type of kernel, `features` and `latencies_ms` as nn-Meter
extracts them, and `trained`: how many kernels its predictor was fitted to.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any
from warnings import simplefilter

_FEATURES = ("HW", "CIN", "COUT", "KERNEL_SIZE", "STRIDES", "EXPANSION")
_BLOCK = "mbconv"


class BlockParser:
    """The features of a block, as nn-Meter asks of a kernel of the user's own."""

    def __init__(self, kernel_type: str) -> None:
        self.kernel_type, self.needed_config = kernel_type, list(_FEATURES)

    def get_feature_by_config(self, config: dict[str, int]) -> list[int]:
        """(6,) in the order of `needed_config`."""
        return [config[name] for name in self.needed_config]

    def get_config_by_feature(self, feature: list[int]) -> dict[str, int]:
        """The inverse."""
        return dict(zip(self.needed_config, feature, strict=True))


def main() -> None:
    simplefilter("ignore")
    asked = json.load(sys.stdin)
    kinds = list(json.loads(Path(asked["file"]).read_text(encoding="utf-8")))
    _register([kind for kind in kinds if kind.startswith(_BLOCK)], Path(asked["home"]))
    builder = importlib.import_module("nn_meter.builder.kernel_predictor_builder.predictor_builder")
    extract = importlib.import_module(f"{builder.__name__}.extract_feature")
    found: dict[str, Any] = {}
    for kind in kinds:
        parser = extract.get_feature_parser(kind)
        features, latencies_ms = extract.get_data_by_profiled_results(kind, parser, asked["file"])
        found[kind] = {"features": features, "latencies_ms": latencies_ms, "trained": 0}
        if kind.startswith(_BLOCK):
            train = importlib.import_module(f"{builder.__name__}.build_predictor").build_predictor_by_data
            predictor, _, _ = train(kind, (asked["file"], asked["file"]), final_predictor=True)
            found[kind]["trained"] = len(predictor.predict(features))
    json.dump(found, sys.stdout)


def _register(kinds: list[str], home: Path) -> None:
    """As `nn-meter register --kernel` writes it down, but for what only the building of models needs."""
    os.environ["HOME"] = os.environ["USERPROFILE"] = str(home)
    place = {"package_location": str(Path(__file__).parent), "parser_module": Path(__file__).stem}
    kernels = {kind: place | {"parser_name": BlockParser.__name__} for kind in kinds}
    folder = home / ".nn_meter" / "config"
    folder.mkdir(parents=True)
    # JSON is YAML too.
    (folder / "registry.yaml").write_text(json.dumps({"kernels": kernels}), encoding="utf-8")


if __name__ == "__main__":
    main()
