"""200 broken files through the command line: exit code 2, one clear line, nothing written."""

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.graph.test_onnx_fuzz import broken as broken_onnx
from tests.graph.test_onnx_fuzz import small_model
from tests.graph.test_yaml_fuzz import broken_yaml, scribble, truncate

from mnv3c.cli.model import ModelOptions, load_model
from mnv3c.compiler.lower import lower
from mnv3c.graph.errors import UserError
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device

BROKEN_PER_KIND = 50
MAX_TRIES_PER_KIND = 150
TARGET, DEVICE = "x86_64", "haswell"


def yaml_files(good: Path, folder: Path) -> Iterator[Path]:
    """Broken graphs beside good weights."""
    path, text = folder / "net.yaml", good.read_bytes()
    shutil.copy(good.with_suffix(".npz"), folder / good.with_suffix(".npz").name)
    for seed in range(MAX_TRIES_PER_KIND):
        path.write_bytes(broken_yaml(random.Random(seed), text))
        yield path


def weight_files(good: Path, folder: Path) -> Iterator[Path]:
    """A good graph beside broken weights: gone, cut off, overwritten, or another network's."""
    path, weights = folder / "net.yaml", folder / good.with_suffix(".npz").name
    path.write_bytes(good.read_bytes())
    yield path
    data = good.with_suffix(".npz").read_bytes()
    directory = data.rfind(b"PK\x01\x02", 0, len(data) - 20_000)
    for seed in range(1, MAX_TRIES_PER_KIND):
        rng = random.Random(seed)
        start = directory if seed % 2 else 0
        weights.write_bytes(data[:start] + rng.choice([truncate, scribble])(rng, data[start:]))
        yield path


def onnx_files(good: Path, folder: Path) -> Iterator[Path]:
    """A small network of every kind of node that real exports have, broken."""
    path, model = folder / "net.onnx", small_model()
    data = bytes(model.SerializeToString())
    for seed in range(MAX_TRIES_PER_KIND):
        path.write_bytes(broken_onnx(model, data, seed))
        yield path


def noise_files(good: Path, folder: Path) -> Iterator[Path]:
    """Random bytes, nothing at all, text that is no graph, and one format under the other's name."""
    onnx = bytes(small_model().SerializeToString())
    texts = [
        b"",
        b"\n",
        b"hello",
        b"{}",
        b"[]",
        b"null",
        b"nodes: 3",
        b"%YAML 9.9",
        b"&a [*a, *a]",
        b"!!python/none",
        onnx,
    ]
    for seed in range(MAX_TRIES_PER_KIND):
        path = folder / ("net.yaml" if seed % 2 else "net.onnx")
        rng = random.Random(seed)
        noise = rng.randbytes(rng.choice([1, 10, 1000, 100_000]))
        path.write_bytes(texts[seed // 2] if seed // 2 < len(texts) else noise)
        if path.suffix == ".yaml" or path.read_bytes() != onnx:
            yield path


def is_whole(path: Path) -> bool:
    """Whether the damage left a network that can be compiled; only a UserError may say that it did not."""
    try:
        graph = run_passes(load_model(str(path), ModelOptions()), default_passes())
        lower(graph, load_target(TARGET), find_device(DEVICE, TARGET))
    except Exception as error:
        assert isinstance(error, UserError), f"{type(error).__name__}: {error}"
        return False
    return bool(graph.weights)


@pytest.mark.parametrize("kind", [yaml_files, weight_files, onnx_files, noise_files])
def test_fifty_broken_files(mnv3c: Any, tiny_yaml: Path, tmp_path: Path, kind: Any) -> None:
    (tmp_path / "in").mkdir()
    out, refused, tried = tmp_path / "out", 0, 0
    for path in kind(tiny_yaml, tmp_path / "in"):
        tried += 1
        if is_whole(path):
            continue
        began = time.monotonic()
        outcome = mnv3c("compile", path, "--target", TARGET, "--device", DEVICE, "-o", out)
        assert time.monotonic() - began < 5, f"try {tried}"
        assert outcome.code == 2, f"try {tried}: {outcome.stderr}"
        assert outcome.message.isprintable() and len(outcome.message) < 1000, f"try {tried}"
        # It names the file, or the place in it.
        named = (str(path.parent), "node '", "graph '")
        assert any(name in outcome.message for name in named), outcome.message
        assert not out.exists(), f"try {tried}"
        refused += 1
        if refused == BROKEN_PER_KIND:
            return
    pytest.fail(f"only {refused} of {tried} files are broken")
