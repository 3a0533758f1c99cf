"""Evolutionary and random search in a space under a latency target, with a Pareto archive.

The evolution is that of once-for-all (arXiv 1908.09791, section 3.4, and its `EvolutionFinder`): the best quarter of a
population are parents, half of the next generation are mutations of one and half crossings of two.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Literal
from zlib import crc32

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.yaml_fields import encode_fields
from mnv3c.search.accuracy import Accuracy, Candidate
from mnv3c.search.archive import Archive, Point
from mnv3c.search.folder import SearchFolder
from mnv3c.search.genes import Genes, Genome, subnet_text
from mnv3c.search.latency import Latency
from mnv3c.search.netadapt import Found, with_weights
from mnv3c.search.reward import Reward
from mnv3c.search.space import Space

# How often a network within the target is sought for one place of a population.
_MOST_DRAWS = 500


@dataclass(frozen=True)
class EvolveSettings:
    """`population` networks in each of `generations`; the share of parents, and of genes that a mutation draws anew.

    Networks over `target_ms` are not judged. `exponent` is the reward's below the target: 0 looks at accuracy alone.
    Strategy `random` draws every generation anew. Raises UserError for values that make no search.
    """

    target_ms: float
    strategy: Literal["evolve", "random"] = "evolve"
    population: int = 50
    generations: int = 20
    parents: float = 0.25
    mutation: float = 0.1
    exponent: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        Reward(self.target_ms)
        for name, allowed in (("population", self.population >= 2), ("generations", self.generations >= 1)):
            if not allowed:
                raise UserError(f"{name} is too small: {getattr(self, name)}")
        for name in ("parents", "mutation"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(f"{name} must be above 0 and up to 1, not {getattr(self, name)}")

    @property
    def reward(self) -> Reward:
        """What the population is ranked by; none of it is over the target."""
        return Reward(self.target_ms, self.exponent, -1.0)


@dataclass(frozen=True)
class Generation:
    """A generation that is done: the best by reward of all so far, and the archive's size."""

    number: int
    best: Point
    judged: int
    front: int


class Evolution:
    """A search in a folder; what is done there already is not done again, and the path is the same.

    `on_candidate(number, count, name)` is told of each network before it is judged. Raises UserError as
    `SearchFolder.open` does.
    """

    def __init__(
        self,
        space: Space,
        resolution: int,
        accuracy: Accuracy,
        latency: Latency,
        settings: EvolveSettings,
        folder: SearchFolder,
        resume: bool = False,
        on_candidate: Callable[[int, int, str], None] = lambda number, count, name: None,
    ) -> None:
        self._genes, self._resolution = Genes(space), resolution
        self._accuracy, self._latency, self._settings = accuracy, latency, settings
        self._folder, self._on_candidate = folder, on_candidate
        self._asked: dict[str, Any] = {
            "strategy": settings.strategy,
            "space": encode_fields(space),
            "resolution": resolution,
            "latency": latency.identity,
            "accuracy": accuracy.identity,
            "settings": encode_fields(settings),
        }
        done = folder.open(self._asked, resume)
        self._latencies_ms: dict[str, float] = {}
        self._judged: dict[str, Point] = {}
        self._genomes: dict[str, Genome] = {}
        self._generations: list[Generation] = []
        self._restore(done)

    def generations(self) -> Iterator[Generation]:
        """Every generation, those done before first.

        Raises UserError where no network within the target is found.
        """
        yield from tuple(self._generations)
        for number in range(len(self._generations), self._settings.generations):
            rng = Random(f"{self._settings.seed} {number}")
            self._judge_all(self._next(rng))
            best = max(self._judged.values(), key=self._fitness)
            generation = Generation(number, best, len(self._judged), len(self.archive()))
            self._generations.append(generation)
            self._write()
            yield generation

    def archive(self) -> Archive:
        """The networks that none beats, of all that were judged."""
        archive = Archive()
        for point in self._judged.values():
            archive.add(point)
        return archive

    @property
    def judged(self) -> tuple[Point, ...]:
        """All networks that were judged, in order."""
        return tuple(self._judged.values())

    def finish(self) -> Found:
        """The best network by reward, saved as `best` in the folder."""
        best = self._generations[-1].best
        graph = with_weights(self._folder.load("best"), self._settings.seed)
        self._folder.save("best", graph)
        return Found(graph, best.latency_ms, best.accuracy)

    def _fitness(self, point: Point) -> tuple[float, float, str]:
        return self._settings.reward(point.accuracy, point.latency_ms), -point.latency_ms, point.subnet

    def _next(self, rng: Random) -> list[str]:
        settings = self._settings
        ranked = sorted(self._judged.values(), key=self._fitness, reverse=True)[: settings.population]
        parents = [self._genomes[point.subnet] for point in ranked[: max(1, round(settings.parents * len(ranked)))]]
        if settings.strategy == "random" or not parents:
            return [self._within(lambda: self._genes.random(rng)) for _ in range(settings.population)]
        half = settings.population // 2

        def mutation() -> Genome:
            return self._genes.mutated(rng.choice(parents), rng, settings.mutation)

        def crossing() -> Genome:
            return self._genes.crossed(rng.choice(parents), rng.choice(parents), rng)

        return [self._within(mutation if place < half else crossing) for place in range(settings.population)]

    def _within(self, draw: Callable[[], Genome]) -> str:
        """The first network drawn that is within the target."""
        least_ms = float("inf")
        for _ in range(_MOST_DRAWS):
            genome = draw()
            subnet = self._genes.subnet(genome)
            name = subnet_text(subnet)
            if name not in self._latencies_ms:
                self._latencies_ms[name] = self._latency(self._graph(genome))
            self._genomes.setdefault(name, genome)
            least_ms = min(least_ms, self._latencies_ms[name])
            if self._latencies_ms[name] <= self._settings.target_ms:
                return name
        raise UserError(
            f"none of {_MOST_DRAWS} networks drawn from space '{self._genes.space.name}' is within "
            f"{self._settings.target_ms:.4g} ms; the fastest takes {least_ms:.4g} ms"
        )

    def _judge_all(self, names: list[str]) -> None:
        new = [name for name in dict.fromkeys(names) if name not in self._judged]
        best: Graph | None = None
        for number, name in enumerate(new, start=1):
            self._on_candidate(number, len(new), name)
            graph = self._graph(self._genomes[name])
            seed = crc32(f"{self._settings.seed} {name}".encode())
            judged = self._accuracy.judge(Candidate(name, graph, None, "start", seed))
            point = Point(self._latencies_ms[name], judged.accuracy, name)
            if not self._judged or self._fitness(point) > max(map(self._fitness, self._judged.values())):
                best = judged.graph
            self._judged[name] = point
        if best is not None:
            self._folder.save("best", best)

    def _graph(self, genome: Genome) -> Graph:
        return self._genes.space.graph(self._genes.subnet(genome), self._resolution)

    def _restore(self, done: dict[str, Any]) -> None:
        try:
            for name, latency_ms, accuracy, genome in done.get("judged", []):
                self._judged[name] = Point(latency_ms, accuracy, name)
                self._latencies_ms[name] = latency_ms
                self._genomes[name] = tuple(genome)
            for number, best, judged, front in done.get("generations", []):
                self._generations.append(Generation(number, self._judged[best], judged, front))
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{self._folder.path}: a generation cannot be read: {error}") from None

    def _write(self) -> None:
        judged = [[p.subnet, p.latency_ms, p.accuracy, list(self._genomes[p.subnet])] for p in self._judged.values()]
        done = [[g.number, g.best.subnet, g.judged, g.front] for g in self._generations]
        self._folder.write(self._asked, {"judged": judged, "generations": done})
