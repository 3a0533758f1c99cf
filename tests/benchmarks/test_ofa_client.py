"""benchmarks/ofa_client.py: what it asks of once-for-all's client, and what it says where that is missing."""

import sys
from importlib import import_module
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

from mnv3c.graph.errors import MissingError
from mnv3c.search.space_file import find_space

ROOT = Path(__file__).parents[2]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module("ofa_client")


def test_settings_say_the_network_as_once_for_all_does(client: ModuleType) -> None:
    space, rng = find_space("ofa-mbv3-w1.2"), Random(6)
    for _ in range(20):
        subnet = space.random(rng)
        settings = client.settings_of(space, subnet, 192)
        assert (len(settings["ks"]), len(settings["e"]), len(settings["d"])) == (20, 20, 5)
        blocks = iter(space.blocks(subnet, 192)[1:])
        for stage, depth in enumerate(settings["d"]):
            for index in range(4 * stage, 4 * stage + depth):
                block = next(blocks)
                assert (settings["ks"][index], settings["e"][index]) == (block.kernel, block.c_expand / block.c_in)
        assert next(blocks, None) is None


def test_without_once_for_all_a_line_says_so(client: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"failed: ModuleNotFoundError: No module named 'ofa'; see benchmarks/"):
        client.read_by_client(Path(sys.executable), tmp_path, 1.0, [])
