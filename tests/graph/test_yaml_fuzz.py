"""A good file, broken a hundred times: each copy is refused in one line or loads as a whole graph."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mnv3c.graph.errors import UserError
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.verify import verify
from mnv3c.graph.yaml_io import load_graph, save_graph

WRONG_VALUES: tuple[Any, ...] = (None, True, -1, 0, 1.5, 10**12, 10**40, "", "x", [], [1, 2, 3], {}, {"a": 1}, [[[1]]])
Document = dict[str, Any]
Mutation = Callable[[random.Random, Document], None]


def random_place(rng: random.Random, document: Document) -> tuple[Any, Any]:
    """A container in the document and one of its keys or indices."""
    container: Any = document
    while True:
        key = rng.choice(list(container) if isinstance(container, dict) else range(len(container)))
        if isinstance(container[key], dict | list) and container[key] and rng.random() < 0.8:
            container = container[key]
        else:
            return container, key


def swap_type(rng: random.Random, document: Document) -> None:
    container, key = random_place(rng, document)
    container[key] = rng.choice(WRONG_VALUES)


def drop(rng: random.Random, document: Document) -> None:
    container, key = random_place(rng, document)
    del container[key]


def rename_key(rng: random.Random, document: Document) -> None:
    target = rng.choice([document, *document["nodes"]])
    key = rng.choice(list(target))
    target[rng.choice(["nam", "", "x" * 5000, 7, None, key + "s", "kernel", "weights"])] = target.pop(key)


def make_cycle(rng: random.Random, document: Document) -> None:
    early, late = sorted(rng.sample(range(1, len(document["nodes"])), 2))
    document["nodes"][early]["inputs"][0] = document["nodes"][late]["name"]


def make_absurd(rng: random.Random, document: Document) -> None:
    node = rng.choice([node for node in document["nodes"] if "out_channels" in node])
    node["out_channels"] = rng.choice([10**12, 10**30, -8, 0])
    document["nodes"][0]["shape"] = rng.choice([[1, 10**9, 10**9, 3], [1, 64, 64, 3], [], [10**15] * 4])


def repeat_node(rng: random.Random, document: Document) -> None:
    document["nodes"].insert(rng.randrange(len(document["nodes"])), dict(rng.choice(document["nodes"])))


MUTATIONS: tuple[Mutation, ...] = (swap_type, swap_type, drop, drop, rename_key, make_cycle, make_absurd, repeat_node)


def truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def scribble(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 8)):
        changed[rng.randrange(len(changed))] = rng.choice([*b"{}[]:,-&*!|>'\"%@`#?\n\t ", rng.randrange(256)])
    return bytes(changed)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.yaml"
    save_graph(mobilenet_v3("small", width=0.35, resolution=64), path)
    return path


def broken_yaml(rng: random.Random, text: bytes) -> bytes:
    if rng.random() < 0.3:
        return rng.choice([truncate, scribble])(rng, text)
    document = yaml.safe_load(text)
    rng.choice(MUTATIONS)(rng, document)
    return yaml.safe_dump(document, sort_keys=False).encode()


def outcome(path: Path) -> str:
    try:
        verify(load_graph(path))
    except UserError as error:
        assert str(path.parent) in str(error)
        assert "\n" not in str(error)
        assert len(str(error)) < 2000
        return "refused"
    return "loaded"


def test_a_hundred_broken_yaml_files(good: Path, tmp_path: Path) -> None:
    (tmp_path / "good.npz").write_bytes(good.with_suffix(".npz").read_bytes())
    text = good.read_bytes()
    outcomes = []
    for seed in range(100):
        path = tmp_path / f"broken{seed}.yaml"
        path.write_bytes(broken_yaml(random.Random(seed), text))
        outcomes.append(outcome(path))
    # Few mutations are harmless: a default dropped, a changed number that still fits.
    assert outcomes.count("refused") >= 80


def test_thirty_broken_weight_files(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_bytes(good.read_bytes())
    weights = good.with_suffix(".npz").read_bytes()
    assert outcome(good) == "loaded"
    directory = weights.rfind(b"PK\x01\x02", 0, len(weights) - 20_000)
    for seed in range(30):
        rng = random.Random(seed)
        # Half of the damage goes to the archive's directory, which is small beside the data.
        start = directory if seed % 2 else 0
        damage = truncate if seed % 3 == 0 else scribble
        path.with_suffix(".npz").write_bytes(weights[:start] + damage(rng, weights[start:]))
        assert outcome(path) in ("refused", "loaded")
        if damage is truncate:
            assert outcome(path) == "refused"
