"""Run by ofa_client.py in once-for-all's own environment, which has no mnv3c: its classes, its table, its sums.

Reads on stdin `{"folder", "width", "networks": [{"ks", "e", "d", "resolution"}]}`, and writes a list of milliseconds:
what `MBv3LatencyTable` says of the sub-network that `OFAMobileNetV3` makes of each.
"""

import importlib
import json
import sys
from types import ModuleType
from typing import Any
from warnings import simplefilter


class _Absent(ModuleType):
    """Stands for torchvision, which ofa's data loaders import and its latency tables do not use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *args, **kwargs: None})


def main() -> None:
    simplefilter("ignore")
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.datasets"):
        try:
            importlib.import_module(name)
        except ImportError:
            absent = sys.modules[name] = _Absent(name)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, absent)
    networks = importlib.import_module("ofa.imagenet_classification.elastic_nn.networks")
    tables = importlib.import_module("ofa.nas.efficiency_predictor.latency_lookup_table")
    asked = json.load(sys.stdin)
    net = networks.OFAMobileNetV3(
        width_mult=asked["width"], ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4]
    )
    found: dict[int, Any] = {}
    latencies_ms = []
    for wanted in asked["networks"]:
        side = wanted["resolution"]
        if side not in found:
            found[side] = tables.MBv3LatencyTable(url=f"{asked['folder']}/{side}_lookup_table.yaml")
        net.set_active_subnet(ks=wanted["ks"], e=wanted["e"], d=wanted["d"])
        config = net.get_active_net_config()
        latencies_ms.append(found[side].predict_network_latency_given_config(config, side))
    json.dump(latencies_ms, sys.stdout)


if __name__ == "__main__":
    main()
