"""Evolution and random search: within the target, repeatable, resumable, and better than chance."""

from pathlib import Path
from random import Random

import pytest
from tests.search.made_up import KilledError, MacLatency, WeightedAccuracy

from mnv3c.graph.errors import UserError
from mnv3c.graph.yaml_io import load_graph
from mnv3c.search.archive import Archive
from mnv3c.search.evolve import Evolution, EvolveSettings
from mnv3c.search.folder import SearchFolder
from mnv3c.search.genes import Genes, subnet_text
from mnv3c.search.space_file import find_space

SPACE = find_space("ofa-mbv3-w1.0")
TARGET_MS = 40.0
SETTINGS = EvolveSettings(TARGET_MS, population=5, generations=3, seed=3)


def search(
    folder: Path, accuracy: WeightedAccuracy, settings: EvolveSettings = SETTINGS, resume: bool = False
) -> Evolution:
    return Evolution(SPACE, 96, accuracy, MacLatency(), settings, SearchFolder(folder), resume)


def test_genes_make_networks_of_the_space() -> None:
    genes, rng = Genes(SPACE), Random(0)
    one, other = genes.random(rng), genes.random(rng)
    children = [genes.crossed(one, other, rng), genes.mutated(one, rng, 0.3)]
    for genome in (one, other, *children):
        SPACE.require(genes.subnet(genome))
    assert all(gene in pair for gene, pair in zip(children[0], zip(one, other, strict=True), strict=True))
    assert genes.mutated(one, rng, 0.0) == one


def test_the_text_of_a_network_names_it_alone() -> None:
    genes, rng = Genes(SPACE), Random(1)
    subnets = {genes.subnet(genes.random(rng)) for _ in range(200)}
    assert len({subnet_text(subnet) for subnet in subnets}) == len(subnets)


@pytest.mark.parametrize("strategy", ["evolve", "random"])
def test_all_that_is_judged_is_within_the_target(tmp_path: Path, strategy: str) -> None:
    settings = EvolveSettings(TARGET_MS, strategy, population=6, generations=3)  # type: ignore[arg-type]
    accuracy = WeightedAccuracy()
    found = search(tmp_path, accuracy, settings)
    generations = list(found.generations())

    assert len(generations) == 3
    assert all(point.latency_ms <= TARGET_MS for point in found.judged)
    assert [point.subnet for point in found.judged] == [each.subnet for each in accuracy.seen]
    assert len({point.subnet for point in found.judged}) == len(found.judged)
    best = max(found.judged, key=lambda point: point.accuracy)
    assert generations[-1].best == best
    assert load_graph(tmp_path / "best.yaml").total_macs / 1e6 == best.latency_ms == found.finish().latency_ms


def test_the_archive_is_that_of_all_judged(tmp_path: Path) -> None:
    found = search(tmp_path, WeightedAccuracy())
    list(found.generations())
    unbeaten = [point for point in found.judged if not any(other.beats(point) for other in found.judged)]
    assert isinstance(found.archive(), Archive)
    assert list(found.archive()) == sorted(unbeaten)


def test_evolution_finds_more_than_chance(tmp_path: Path) -> None:
    best = {}
    for strategy in ("evolve", "random"):
        settings = EvolveSettings(TARGET_MS, strategy, population=8, generations=5)  # type: ignore[arg-type]
        *_, last = search(tmp_path / strategy, WeightedAccuracy(), settings).generations()
        best[strategy] = last.best.accuracy
    assert best["evolve"] > best["random"]


@pytest.mark.parametrize("most", [0, 6])
def test_an_interrupted_search_goes_the_same_way(tmp_path: Path, most: int) -> None:
    whole = search(tmp_path / "whole", WeightedAccuracy())
    expected = list(whole.generations())

    with pytest.raises(KilledError):
        list(search(tmp_path / "parts", WeightedAccuracy(most)).generations())
    resumed = search(tmp_path / "parts", WeightedAccuracy(), resume=True)

    assert list(resumed.generations()) == expected
    assert resumed.judged == whole.judged
    assert resumed.finish() == whole.finish()


def test_a_target_that_nothing_meets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none of 500 networks drawn .* within 0\.01 ms; the fastest takes"):
        list(search(tmp_path, WeightedAccuracy(), EvolveSettings(0.01, population=2)).generations())


@pytest.mark.parametrize(
    ("key", "value"), [("population", 1), ("generations", 0), ("parents", 0.0), ("mutation", 1.5), ("target_ms", 0.0)]
)
def test_settings_that_make_no_search_are_refused(key: str, value: float) -> None:
    with pytest.raises(UserError, match=key.replace("target_ms", "target latency")):
        EvolveSettings(**{"target_ms": 1.0, key: value})  # type: ignore[arg-type]
