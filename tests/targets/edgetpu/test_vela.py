"""The block engines against Arm's compiler Vela 5.2.0, a peer and not the truth.

benchmarks/vela_networks.py writes the networks, benchmarks/vela_rows.py makes the rows.
"""

import csv
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.targets.edgetpu.emulate import emulate
from mnv3c.targets.edgetpu.settings import find_accelerator
from mnv3c.targets.edgetpu.sweep import Workload

ROWS = Path(__file__).parent / "data" / "vela_5.2.0.csv"
BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
DEVICES = ("ethos-u55-256", "ethos-u65-512")
LARGE = "mobilenet_v3_large"
ABLATIONS = ("mobilenet_v3_large_hswish_none", "mobilenet_v3_large_no_se", "mobilenet_v3_large_minimalistic")
NAMES = ("mobilenet_v1", "mobilenet_v2", LARGE, *ABLATIONS, "mobilenet_v3_small")
# In ms on the U65-512, Vela on weights of another origin: compressed weights differ by 2 %.
OTHER_WEIGHTS_MS = dict(zip((LARGE, *ABLATIONS), (4.14, 3.89, 3.21, 2.86), strict=True))

CASES = pytest.mark.parametrize("device", DEVICES)
NETWORKS = pytest.mark.parametrize("network", NAMES)


@dataclass(frozen=True)
class Compared:
    """Cycles of each layer: the model's and Vela's, of all operators that make the layer up."""

    model: Mapping[str, int]
    vela: Mapping[str, int]

    @property
    def ratio(self) -> float:
        return sum(self.model.values()) / sum(self.vela.values())


@pytest.fixture(scope="module")
def workloads() -> Iterator[dict[str, Workload]]:
    """The networks of benchmarks/vela_networks.py, which imports what lies beside it."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        from vela_networks import NETWORKS as MAKERS

        assert sorted(MAKERS) == sorted(NAMES)
        yield {name: Workload.of(run_passes(make(), default_passes())) for name, make in MAKERS.items()}
    for name in ("vela_networks", "mobilenets", "command_line"):
        if name not in before:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def compared(workloads: dict[str, Workload]) -> dict[tuple[str, str], Compared]:
    with ROWS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for network, workload in workloads.items():
        for name in DEVICES:
            result = emulate(workload.name, workload.jobs, workload.outputs, find_accelerator(name))
            model = {layer.name: layer.cycles for layer in result.layers}
            vela: defaultdict[str, int] = defaultdict(int)
            for row in rows:
                if (row["network"], row["accelerator"]) == (network, name):
                    vela[layer_of(row["name"], model)] += int(row["cycles"])
            found[network, name] = Compared(model, vela)
    return found


def layer_of(operator: str, layers: Collection[str]) -> str:
    """The layer that an operator belongs to: it is called after that, with `.0` or the like behind."""
    name = operator.removesuffix("_intermediate")
    while name not in layers:
        name, dot, _ = name.rpartition(".")
        assert dot, f"{operator} belongs to no layer"
    return name


@NETWORKS
@CASES
def test_every_layer_has_its_operators(compared, network, device):
    found = compared[network, device]
    assert set(found.model) == set(found.vela)


@NETWORKS
@CASES
def test_totals_agree(compared, network, device):
    """The bar is 25 %; the worst is V1 on the U65-512, 3.9 % below Vela."""
    assert compared[network, device].ratio == pytest.approx(1.0, abs=0.05)


@NETWORKS
@CASES
def test_layers_are_ranked_alike(compared, network, device):
    """The bar is 0.9; the lowest is V1 on the U65-512, 0.968, which has many nearly equal layers."""
    found = compared[network, device]
    layers = list(found.vela)
    assert spearmanr([found.model[name] for name in layers], list(found.vela.values())).statistic >= 0.96


@NETWORKS
@CASES
def test_layers_agree(compared, network, device):
    """Errors do not merely cancel: summed up without their signs they are at most 4.3 % of the total."""
    found = compared[network, device]
    assert sum(abs(found.model[name] - cycles) for name, cycles in found.vela.items()) <= 0.05 * sum(
        found.vela.values()
    )


@CASES
def test_each_ablation_saves_what_it_saves_vela(compared, device):
    full = compared[LARGE, device]
    saved = {}
    for network in ABLATIONS:
        less = compared[network, device]
        saved[network] = sum(full.model.values()) - sum(less.model.values())
        assert saved[network] == pytest.approx(sum(full.vela.values()) - sum(less.vela.values()), rel=0.12)
    assert 0 < saved[ABLATIONS[0]] < saved[ABLATIONS[1]] < saved[ABLATIONS[2]]


@pytest.mark.parametrize(("network", "ms"), OTHER_WEIGHTS_MS.items())
def test_totals_agree_with_vela_on_other_weights(compared, network, ms):
    cycles = sum(compared[network, "ethos-u65-512"].model.values())
    assert cycles / find_accelerator("ethos-u65-512").clock_hz * 1e3 == pytest.approx(ms, rel=0.06)
