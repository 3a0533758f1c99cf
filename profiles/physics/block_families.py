"""The sorts of units of processors that are measured by blocks."""

import numpy as np

from mnv3c.profiles.layer_table import PRODUCTS, Integers, LayerTable

BLOCK_FAMILIES = ("block", "products", "depthwise")


def block_family_of(table: LayerTable) -> Integers:
    """(units,) index into `BLOCK_FAMILIES` by what a unit holds: both sorts of convolution, or one; -1 for neither."""
    depthwise, products = (
        table.per_unit_max(table.is_kind(*kinds).astype(np.int64)) for kinds in (("depthwise",), PRODUCTS)
    )
    return np.select([(depthwise > 0) & (products > 0), products > 0, depthwise > 0], [0, 1, 2], -1)
