"""What every physics says of layers, and of the units that they form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from mnv3c.profiles.layer_table import Integers, LayerTable

Floats = npt.NDArray[np.float64]
Bound = Literal["compute", "bandwidth", "overhead"]
# What rows of a kind of processor measure, and so what a network is the sum of: layers, blocks, or compiled kernels.
Unit = Literal["layer", "block", "kernel"]

# The group of what a unit costs beside its layers.
UNIT_GROUP = "unit"


@dataclass(frozen=True)
class Smoothness:
    """What is believed of a family's residual function before any row.

    Its standard deviation, its constant part's own, how far it stays alike along each descriptor (infinite: the
    descriptor does not enter), and the standard deviation of a measurement; all in log space.
    """

    deviation: float
    constant_deviation: float
    length: tuple[float, ...]
    noise: float


class Physics(Protocol):
    """The work of layers as non-negative terms, of which a latency is a weighted sum.

    A unit is what is corrected as a whole: a layer or kernel by itself, a fused group, or a block of a network, as
    rows of that kind were measured. `table.owner` is the unit of each layer, counted from 0 without gaps.

    `processors` are the words in which records name such a processor. `term_names` say what each term is; `bounds`
    which resource it occupies, and `groups` which terms another processor would change together: by a factor whose
    logarithm has about the standard deviation `group_deviations` tells; there the group `UNIT_GROUP` stands for what a
    unit costs beside its layers, nominally `unit_ms`. `families` names the sorts of units that share one residual
    function: `beliefs` are about what physics leaves over, `ratio_beliefs` about the ratio of two processors of this
    kind; at most `max_points` inducing points hold a function. `usual_error` is the standard deviation of the logarithm
    of measured to predicted after a transfer from few rows. Everything is vectorised: a table in, arrays with one
    row a layer or unit out.
    """

    name: ClassVar[str]
    processors: ClassVar[tuple[str, ...]]
    term_names: ClassVar[tuple[str, ...]]
    bounds: ClassVar[tuple[Bound, ...]]
    groups: ClassVar[tuple[str, ...]]
    group_deviations: ClassVar[Mapping[str, float]]
    families: ClassVar[tuple[str, ...]]
    unit: ClassVar[Unit]
    beliefs: ClassVar[tuple[Smoothness, ...]]
    ratio_beliefs: ClassVar[tuple[Smoothness, ...]]
    max_points: ClassVar[int]
    unit_ms: ClassVar[float]
    usual_error: ClassVar[float]

    def terms(self, table: LayerTable) -> Floats:
        """(layers, terms): non-negative, in milliseconds at the physics' nominal rates."""
        ...

    def family(self, table: LayerTable) -> Integers:
        """(units,): index into `families`; -1 for a unit that has physics only."""
        ...

    def descriptors(self, table: LayerTable) -> Floats:
        """(units, d): where a unit lies, for the residual functions and for the range that a profile has seen.

        Scaled so that a distance of 1 is a unit of clearly different behaviour.
        """
        ...


def family_names(physics: Physics, families: Integers) -> tuple[str, ...]:
    """(units,) the names of families by number; "other" for units that have physics only."""
    names = (*physics.families, "other")
    return tuple(names[number] for number in families)
