"""Fitted cost models: units in, milliseconds out."""

from dataclasses import dataclass

import numpy as np

from mnv3c.profiles.layer_table import Integers, LayerTable
from mnv3c.profiles.model.residual import Residual, corrections
from mnv3c.profiles.physics.base import Floats, Physics

# A residual corrects physics; one that would turn a latency around has left what it was fitted on.
_LARGEST_LOG = 1.2


@dataclass(frozen=True)
class Costs:
    """What units cost, in milliseconds: each term of each layer (layers, terms), and in sum (layers,) and (units,).

    `families` (units,) are the numbers of their families, as `Physics.family` tells.

    A unit's latency is the sum of its layers', and what it costs beside them.
    """

    families: Integers
    terms_ms: Floats
    unit_ms: Floats

    @property
    def layer_ms(self) -> Floats:
        """(layers,) milliseconds."""
        return np.asarray(self.terms_ms.sum(1), np.float64)


@dataclass(frozen=True)
class Model:
    """Physics, its coefficients (t,), that of what a unit costs beside its layers, and the residual functions.

    `priors` are the models from which this one was transferred, if any: the mean of their residuals is part of it.
    """

    physics: Physics
    coefficients: Floats
    unit_coefficient: float
    residuals: tuple[Residual, ...]
    priors: tuple["Model", ...] = ()

    def costs(self, table: LayerTable) -> Costs:
        """What each unit costs."""
        physical = self.physical(table)
        logs = self.log_corrections(physical.families, self.physics.descriptors(table))
        factor = np.exp(np.clip(logs, -_LARGEST_LOG, _LARGEST_LOG))
        return Costs(physical.families, physical.terms_ms * factor[table.owner, None], physical.unit_ms * factor)

    def physical(self, table: LayerTable) -> Costs:
        """What each unit costs by physics alone."""
        terms_ms = self.physics.terms(table) * self.coefficients
        beside_ms = self.unit_coefficient * self.physics.unit_ms
        unit_ms = np.asarray(table.per_unit_sum(terms_ms.sum(1)) + beside_ms, np.float64)
        return Costs(self.physics.family(table), terms_ms, unit_ms)

    def log_corrections(self, families: Integers, descriptors: Floats) -> Floats:
        """(units,) logarithms of the factors by which units differ from physics."""
        own = corrections(self.residuals, families, descriptors)
        for prior in self.priors:
            own += prior.log_corrections(families, descriptors) / len(self.priors)
        return own
