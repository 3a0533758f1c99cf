"""What a kernel costs on a mobile GPU under TFLite's delegate, for any GPU: what differs between them is fitted.

A GPU runs a few work groups at once, so a kernel's time goes in steps; `gpu_dispatch` says into how many groups TFLite
cuts a layer. A launch costs the same for any kernel (`unit_ms`); all else each family has for itself, as `FAMILY.TERM`:

    groups          work groups, each scheduled once
    threads         threads of all groups, in whole waves of 64
    serial          steps of one thread: the least that a kernel takes, however many run at once
    steps           steps of each group, one group after another
    wave2 ... 32    steps where so many groups run at once: the last wave takes as long as a full one
    flat4, flat16   the same for groups of 32 threads along the flattened map, which PowerVR takes
    padded          steps of all threads, in whole waves of 64
    wave8_threads   steps of the threads of a group where 8 groups run at once
    group_weights   weights that each group loads: its slices at each step
    group_inputs    inputs that each group loads: its pixels at each step
    wave8_weights   weights that a group loads where 8 groups run at once
    read, write     slices of pixels of the input and of the output
    weights         slices of weights times slices of outputs
    residual        slices of pixels of a second map that is added
    links           slices of pixels that pass operations linked to the kernel
    fetch           slices of pixels times taps
    transform       slices of pixels of both maps, where Winograd's transforms read and write them
    footprint       pixels that a depthwise or pooling group reads, with the rim that its neighbours read too

Terms were chosen by backward elimination in 6-fold cross-validation by shape on three GPUs of qed-usc's
mobile-ml-benchmark at once (Adreno 640, Adreno 616, PowerVR; 14,613 kernels), beliefs by marginal likelihood there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from mnv3c.graph.errors import UserError
from mnv3c.profiles.layer_table import Integers, LayerTable
from mnv3c.profiles.physics.base import UNIT_GROUP, Bound, Floats, Smoothness, Unit
from mnv3c.profiles.physics.gpu_dispatch import FAMILIES, Dispatch, dispatch_of, family_of, round_up

_MS_PER_NS = 1e-6


@dataclass(frozen=True)
class _Kernels:
    """Layers of one family, and how they are cut."""

    table: LayerTable
    dispatch: Dispatch

    @property
    def output(self) -> Floats:
        """Slices of pixels of the output."""
        return self.dispatch.pixels * self.dispatch.slices_out

    @property
    def input(self) -> Floats:
        """Slices of pixels of the input, of which a depthwise or pooling kernel reads what its windows cover."""
        table, windows = self.table, self.table.is_kind("depthwise", "pool")
        rows = np.where(windows, (table.h_out - 1) * table.stride + table.kernel_h, table.h_in)
        columns = np.where(windows, (table.w_out - 1) * table.stride_w + table.kernel_w, table.w_in)
        return rows * columns * table.batch * round_up(table.c_in, 4)

    @property
    def taps(self) -> Integers:
        """Taps of the window."""
        return self.table.kernel_h * self.table.kernel_w

    @property
    def footprint(self) -> Floats:
        """Slices of pixels that all groups read, each those under its own windows."""
        table, cut = self.table, self.dispatch
        rows = (cut.down * cut.tile - 1) * table.stride + table.kernel_h
        columns = (cut.across * cut.tile - 1) * table.stride_w + table.kernel_w
        return cut.groups * cut.deep * rows * columns

    def waves(self, at_once: int) -> Floats:
        """Rounds of so many groups at once."""
        return round_up(self.dispatch.groups, at_once)

    def flat_waves(self, at_once: int) -> Floats:
        """Rounds of so many groups at once along the flattened map."""
        return round_up(self.dispatch.flat_groups, at_once)


@dataclass(frozen=True)
class _Term:
    """What is counted, what it takes on a nominal GPU (about an Adreno 640), and which resource it occupies.

    `group` is what another GPU does faster or slower as a whole.
    """

    nominal_ns: float
    bound: Bound
    group: str
    count: Callable[[_Kernels], Floats]


_TERMS: Mapping[str, _Term] = MappingProxyType(
    {
        "groups": _Term(400.0, "overhead", "scheduling", lambda k: k.dispatch.groups),
        "threads": _Term(2.0, "overhead", "scheduling", lambda k: k.dispatch.padded),
        "serial": _Term(50.0, "compute", "latency", lambda k: k.dispatch.depth),
        "steps": _Term(30.0, "compute", "latency", lambda k: k.dispatch.groups * k.dispatch.depth),
        "wave2": _Term(50.0, "compute", "latency", lambda k: k.waves(2) * k.dispatch.depth),
        "wave8": _Term(100.0, "compute", "latency", lambda k: k.waves(8) * k.dispatch.depth),
        "wave16": _Term(150.0, "compute", "latency", lambda k: k.waves(16) * k.dispatch.depth),
        "wave32": _Term(300.0, "compute", "latency", lambda k: k.waves(32) * k.dispatch.depth),
        "flat4": _Term(15.0, "compute", "flat", lambda k: k.flat_waves(4) * k.dispatch.depth),
        "flat16": _Term(60.0, "compute", "flat", lambda k: k.flat_waves(16) * k.dispatch.depth),
        "padded": _Term(0.5, "compute", "throughput", lambda k: k.dispatch.padded * k.dispatch.depth),
        "wave8_threads": _Term(
            0.7, "compute", "throughput", lambda k: k.waves(8) * k.dispatch.threads * k.dispatch.depth
        ),
        "fetch": _Term(0.1, "compute", "throughput", lambda k: k.dispatch.pixels * k.dispatch.slices_in * k.taps),
        "group_weights": _Term(
            1.0, "bandwidth", "caches", lambda k: k.dispatch.groups * k.dispatch.deep * k.dispatch.depth
        ),
        "group_inputs": _Term(
            0.2, "bandwidth", "caches", lambda k: k.dispatch.groups * k.dispatch.face * k.dispatch.depth
        ),
        "wave8_weights": _Term(4.0, "bandwidth", "caches", lambda k: k.waves(8) * k.dispatch.deep * k.dispatch.depth),
        "read": _Term(0.2, "bandwidth", "memory", lambda k: k.input),
        "write": _Term(0.3, "bandwidth", "memory", lambda k: k.output),
        "weights": _Term(0.3, "bandwidth", "memory", lambda k: k.dispatch.slices_in * k.dispatch.slices_out * k.taps),
        "residual": _Term(0.4, "bandwidth", "memory", lambda k: k.output * k.table.residual),
        "links": _Term(0.1, "bandwidth", "memory", lambda k: k.output * (k.table.linked > 0)),
        "transform": _Term(1.0, "bandwidth", "memory", lambda k: (k.input + k.output) * (k.table.variant > 0)),
        "footprint": _Term(0.1, "bandwidth", "caches", lambda k: k.footprint),
    }
)
_FAMILY_TERMS: Mapping[str, str] = MappingProxyType(
    {
        "pointwise": "groups serial steps wave8 wave32 padded wave8_threads group_weights group_inputs wave8_weights "
        "flat4 flat16 write read residual",
        "conv": "wave2 wave8 wave32 padded wave8_threads group_weights group_inputs flat4 flat16 write read "
        "residual links transform",
        "conv_constant": "wave16 fetch group_inputs write read weights residual",
        "grouped_conv": "wave8 wave32 padded wave8_threads threads group_weights flat4 flat16 write read",
        "depthwise": "wave32 threads flat4 flat16 write read footprint",
        "depthwise_3x3": "wave32 threads group_weights flat4 flat16 write read",
        "linear": "wave16 weights flat4 links",
        "global_pool": "groups padded threads",
        "global_pool_small": "wave2 wave16 wave32 read",
        "pool": "wave8 wave32 threads write read footprint",
        "copy": "wave32 groups write read",
    }
)
_GROUP_DEVIATIONS: Mapping[str, float] = MappingProxyType(
    {
        UNIT_GROUP: 1.0,
        "scheduling": 0.3,
        "latency": 0.3,
        "flat": 0.3,
        "throughput": 0.3,
        "caches": 0.3,
        "memory": 0.3,
    }
)
_COLUMNS = tuple((family, term) for family in FAMILIES for term in _FAMILY_TERMS[family].split())

# Logarithms are to base 2: a length of 1 is a factor of 2.
_DESCRIPTORS = (
    *("groups", "threads", "deep", "depth", "width", "slices_out", "slices_in", "height"),
    *("outputs", "residual", "strided", "divisible", "winograd"),
)


def _belief(deviation: float, noise: float, lengths: str) -> Smoothness:
    """Lengths as `groups 1.4, threads 0.44`; what is not named does not enter."""
    length = {name: float(value) for name, value in (pair.split() for pair in lengths.split(", "))}
    return Smoothness(deviation, 0.05, tuple(length.get(name, np.inf) for name in _DESCRIPTORS), noise)


_BELIEFS: Mapping[str, Smoothness] = MappingProxyType(
    {
        "pointwise": _belief(
            0.11,
            0.03,
            "groups 1.4, threads 0.44, deep 3, depth 5.3, width 12, slices_out 20, outputs 0.64, residual 4.5, "
            "strided 0.9, divisible 10",
        ),
        "conv": _belief(
            0.13,
            0.025,
            "groups 6, threads 0.6, deep 1.7, depth 6, width 4.5, slices_out 0.3, outputs 3.7, strided 2, winograd 1",
        ),
        "conv_constant": _belief(
            0.08, 0.07, "depth 0.34, width 0.37, slices_out 2.9, slices_in 0.22, residual 0.36, strided 2.7"
        ),
        "grouped_conv": _belief(
            0.1, 0.03, "groups 3, threads 0.57, depth 0.57, width 5.4, slices_out 1.3, strided 1.9"
        ),
        "depthwise": _belief(
            0.12, 0.026, "groups 3.5, threads 0.86, deep 1.45, depth 1.84, width 1.7, divisible 3.5, strided 0.37"
        ),
        "depthwise_3x3": _belief(0.067, 0.035, "deep 0.2, width 0.33, slices_out 1.1, divisible 1.1"),
        "linear": _belief(0.077, 0.05, "depth 0.86, slices_out 0.79"),
        "global_pool": _belief(0.11, 0.025, "slices_out 2.7, height 0.5"),
        "global_pool_small": _belief(0.033, 0.06, "slices_out 1.4, deep 9"),
        "pool": _belief(0.107, 0.05, "groups 3.7, depth 1.25, width 1.7, slices_out 4.1, strided 0.8"),
        "copy": _belief(0.5, 0.15, "groups 5.8, width 4.5, slices_out 3.1, height 4.5, divisible 11"),
    }
)


def _ratio_belief(belief: Smoothness) -> Smoothness:
    """What is left of the ratio of two GPUs: more, and smoother.

    By the error on unseen networks from 20 random rows, each of three GPUs held out with the others as priors: any
    deviations of 0.2 to 0.3, lengths times 2 to 3 and noise of 0.1 to 0.15 do as well, within 1 % of 20 %.
    """
    return Smoothness(0.3, 0.3, tuple(3 * length for length in belief.length), 0.1)


@dataclass(frozen=True)
class GpuPhysics:
    """A mobile GPU under TFLite's delegate, in half precision."""

    name: ClassVar[str] = "gpu"
    processors: ClassVar[tuple[str, ...]] = ("gpu",)
    term_names: ClassVar[tuple[str, ...]] = tuple(f"{family}.{term}" for family, term in _COLUMNS)
    bounds: ClassVar[tuple[Bound, ...]] = tuple(_TERMS[term].bound for _, term in _COLUMNS)
    groups: ClassVar[tuple[str, ...]] = tuple(_TERMS[term].group for _, term in _COLUMNS)
    group_deviations: ClassVar[Mapping[str, float]] = _GROUP_DEVIATIONS
    families: ClassVar[tuple[str, ...]] = FAMILIES
    unit: ClassVar[Unit] = "layer"
    beliefs: ClassVar[tuple[Smoothness, ...]] = tuple(_BELIEFS[family] for family in FAMILIES)
    ratio_beliefs: ClassVar[tuple[Smoothness, ...]] = tuple(_ratio_belief(_BELIEFS[family]) for family in FAMILIES)
    max_points: ClassVar[int] = 256
    unit_ms: ClassVar[float] = 0.005
    # Of 20 kernels of one of three GPUs, with the other two as priors.
    usual_error: ClassVar[float] = 0.2

    def terms(self, table: LayerTable) -> Floats:
        families = family_of(table)
        cut = dispatch_of(table, families)
        result = np.zeros((len(table), len(_COLUMNS)))
        for number, family in enumerate(FAMILIES):
            chosen = np.flatnonzero(families == number)
            if not len(chosen):
                continue
            kernels = _Kernels(table.take(chosen), cut.take(chosen))
            first = next(index for index, column in enumerate(_COLUMNS) if column[0] == family)
            for column, name in enumerate(_FAMILY_TERMS[family].split(), first):
                result[chosen, column] = _TERMS[name].count(kernels) * (_TERMS[name].nominal_ns * _MS_PER_NS)
        return result

    def family(self, table: LayerTable) -> Integers:
        if len(table.starts) != len(table):
            raise UserError("the physics of GPUs is of single kernels: rows of blocks or groups cannot be fitted by it")
        return family_of(table)

    def descriptors(self, table: LayerTable) -> Floats:
        """(units, 13) `_DESCRIPTORS`: binary logarithms, but for residual, strided and winograd, which are 0 or 1."""
        cut = dispatch_of(table, family_of(table))
        counts = {
            "groups": cut.groups,
            "threads": cut.threads,
            "deep": cut.deep,
            "depth": cut.depth,
            "width": cut.width,
            "slices_out": cut.slices_out,
            "slices_in": cut.slices_in,
            "height": table.h_in,
            "outputs": cut.pixels * cut.slices_out,
            "residual": 1 + table.residual,
            "strided": 1 + ((table.stride > 1) | (table.stride_w > 1)),
            "winograd": 1 + table.variant,
            "divisible": np.gcd(cut.slices_out.astype(np.int64), 64),
        }
        columns = np.stack([counts[name] for name in _DESCRIPTORS], axis=1)
        return np.asarray(np.log2(np.maximum(columns, 1)), np.float64)
