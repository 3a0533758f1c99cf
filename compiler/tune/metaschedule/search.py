"""MetaSchedule's evolutionary search, in a process of its own: it proposes traces, others build and measure them.

Only the search is MetaSchedule's. Its builder, runner, database files and callbacks are not used: the tuner's workers
build and time candidates more strictly (docs/design.md), and what was tried lies in the tuner's own records.
"""

import json
import random
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnv3c.compiler.tune.metaschedule.model import Floats, LatencyModel, pooled
from mnv3c.targets.target import Schedulable

# TVM's defaults, 512 traces over 4 generations, take a minute for a depthwise layer, measuring those picked a second.
_POPULATION = 48
_GENERATIONS = 2
_UNROLL_STEPS = (0, 16, 64, 512)
_MOST_INNERMOST = 64
_JOBS_PER_CORE = 16
_MOST_TRIALS = 1 << 30
_ROUNDS = 4  # proposals in vain before a layer counts as searched through
_MAIN = "main"


@dataclass(frozen=True)
class Tried:
    """A trace that was measured; `latency_us` is None where it failed."""

    trace: str
    latency_us: float | None


@dataclass(frozen=True)
class SearchRequest:
    """Ask for `count` new traces of a layer, in the light of everything tried so far.

    `vector_lanes` is the widest loop to vectorise, `cores` how many threads shall find work, 1 for no parallel loops,
    `population` how many traces the search breeds from to find them.
    """

    computation: Schedulable
    llvm_target: str
    vector_lanes: int
    cores: int
    tried: tuple[Tried, ...]
    count: int
    population: int = _POPULATION


def make_searcher() -> "Searcher":
    """What a worker process answers with."""
    _import_without_intrinsics()
    return Searcher()


class Searcher:
    """Answers requests, keeping the search of each layer."""

    def __init__(self) -> None:
        self._searches: dict[Schedulable, _Search] = {}

    def __call__(self, request: SearchRequest) -> tuple[str, ...]:
        """Traces that fit the layer and were not tried; none where the search finds no more."""
        search = self._searches.get(request.computation)
        if search is None:
            search = self._searches.setdefault(request.computation, _Search(request))
        search.learn(request.tried)
        return search.propose()


def _import_without_intrinsics() -> None:
    """Import MetaSchedule without the intrinsics of tensor units, half a minute of parsing that is of no use here."""
    name = "tvm.s_tir.tensor_intrin"
    sys.modules.setdefault(name, types.ModuleType(name))
    from tvm.s_tir import meta_schedule

    assert meta_schedule.TuneContext is not None


class _Search:
    """One layer's search. It goes on from what was tried, in this process or before."""

    def __init__(self, request: SearchRequest) -> None:
        import tvm
        from tvm.s_tir import meta_schedule as ms

        self._plain = request.computation
        self._module = tvm.IRModule({_MAIN: self._plain.computation(_MAIN)})
        self._target = tvm.target.Target({**json.loads(request.llvm_target), "num-cores": request.cores})
        self._arguments = ms.arg_info.ArgInfo.from_entry_func(self._module)
        self._known: set[str] = set()
        self._model, self._features = LatencyModel(), ms.feature_extractor.PerStoreFeature()
        # The same records lead to the same proposals.
        seed = 1 + len(request.tried)
        self._random = np.random.default_rng(seed)
        strategy = ms.search_strategy.EvolutionarySearch(
            population_size=request.population,
            init_min_unmeasured=request.population // 2,
            genetic_num_iters=_GENERATIONS,
        )
        self._context = ms.TuneContext(
            self._module,
            target=self._target,
            space_generator=_space(request),
            search_strategy=strategy,
            # A fork or a thread pool in here could hang.
            num_threads=1,
            rand_state=random.Random(seed).randrange(1, 1 << 30),
        )
        self._database = ms.database.MemoryDatabase()
        self._workload = self._database.commit_workload(self._module)
        designs = self._context.generate_design_space()
        model = ms.cost_model.cost_model._PyCostModel(predict_func=self._scores)
        self._context.pre_tuning(_MOST_TRIALS, request.count, designs, self._database, model)

    def learn(self, tried: Sequence[Tried]) -> None:
        """Take note of what is new among everything tried."""
        from tvm.s_tir import meta_schedule as ms

        fresh = [each for each in tried if each.trace not in self._known]
        self._known |= {each.trace for each in fresh}
        candidates, latencies_us = [], []
        for each in fresh:
            if each.latency_us is not None:
                schedule = self._schedule(each.trace)
                seconds = [each.latency_us / 1e6]
                record = ms.database.TuningRecord(
                    schedule.trace, self._workload, seconds, self._target, self._arguments
                )
                self._database.commit_tuning_record(record)
                candidates.append(ms.MeasureCandidate(schedule, self._arguments))
                latencies_us.append(each.latency_us)
        if candidates:
            self._model.add(self._featured(candidates), latencies_us)

    def propose(self) -> tuple[str, ...]:
        """New traces that can be built."""
        from tvm.s_tir import meta_schedule as ms

        for _ in range(_ROUNDS):
            candidates = self._context.generate_measure_candidates()
            if not candidates:
                return ()
            results = [ms.runner.RunnerResult([1.0], None) for _ in candidates]
            self._context.notify_runner_results(candidates, results)
            traces = [_text(candidate.sch.trace) for candidate in candidates]
            fresh = [trace for trace in dict.fromkeys(traces) if trace not in self._known and self._fits(trace)]
            self._known |= set(traces) - set(fresh)
            if fresh:
                return tuple(fresh)
        return ()

    def _schedule(self, trace: str) -> Any:
        from tvm.s_tir.schedule import Schedule, Trace

        schedule = Schedule(self._module)
        Trace.apply_json_to_schedule(json.loads(trace), schedule)
        return schedule

    def _fits(self, trace: str) -> bool:
        try:
            self._plain.scheduled(trace).build(_MAIN)
        except (ValueError, RuntimeError):
            return False
        return True

    def _featured(self, candidates: Sequence[Any]) -> list[Floats]:
        found = self._features.extract_from(self._context, candidates)
        return [pooled(stores.numpy()) for stores in found]

    def _scores(self, context: Any, candidates: Sequence[Any]) -> Floats:
        """TVM keeps what scores highest."""
        expected = self._model.predict(self._featured(candidates)) if len(self._known) else None
        if expected is None:
            return self._random.random(len(candidates))
        return np.asarray(np.exp(expected.min() - expected))


def _space(request: SearchRequest) -> Any:
    """TVM's rules for CPUs, with this device's vectors and threads. Those for integer dot products are not needed."""
    from tvm.s_tir.meta_schedule import mutator, postproc, schedule_rule, space_generator

    parallel = request.cores > 1
    rules = [
        schedule_rule.InlineConstantScalars(),
        schedule_rule.AutoInline(
            into_producer=False,
            into_consumer=True,
            inline_const_tensor=True,
            disallow_if_then_else=True,
            require_injective=True,
            require_ordered=True,
            disallow_op=["tirx.exp"],
        ),
        schedule_rule.AddRFactor(
            max_jobs_per_core=_JOBS_PER_CORE if parallel else -1, max_innermost_factor=_MOST_INNERMOST
        ),
        schedule_rule.MultiLevelTiling(
            structure="SSRSRS",
            max_innermost_factor=_MOST_INNERMOST,
            reuse_write=schedule_rule.ReuseType(req="may", levels=[1, 2], scope="global"),
        ),
        schedule_rule.ParallelizeVectorizeUnroll(
            max_jobs_per_core=_JOBS_PER_CORE if parallel else -1,
            max_vectorize_extent=request.vector_lanes,
            unroll_max_steps=list(_UNROLL_STEPS),
            unroll_explicit=True,
        ),
        schedule_rule.RandomComputeLocation(),
    ]
    return space_generator.PostOrderApply(
        sch_rules=rules, postprocs=postproc.Postproc.create("llvm"), mutator_probs=mutator.Mutator.create("llvm")
    )


def _text(trace: Any) -> str:
    return json.dumps(_plain(trace.as_json()), separators=(",", ":"))


def _plain(value: Any) -> Any:
    """TVM's integers and arrays as JSON's."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    return value.value if hasattr(value, "value") else [_plain(each) for each in value]
