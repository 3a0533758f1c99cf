"""The scales and biases of TFLite's convolutions and dense layers."""

import numpy as np

from mnv3c.graph.importers.tflite_file import FileTensor, TfliteError
from mnv3c.graph.importers.tflite_scope import MAX_SCALE, Scope
from mnv3c.graph.integer.affine import Int32Array, Scales


def weight_scales(kernel: FileTensor, axis: int) -> Scales:
    """A scale per output channel, of a symmetric kernel whose output channels lie along `axis`.

    Raises TfliteError where the kernel is not quantised so.
    """
    channels, scales = kernel.shape[axis], kernel.scales
    if len(scales) not in (1, channels) or (len(scales) > 1 and kernel.axis != axis):
        raise TfliteError(f"{kernel}: {len(scales)} scales along axis {kernel.axis} do not fit {channels} channels")
    if not ((scales > 0) & (scales <= MAX_SCALE)).all():
        raise TfliteError(f"{kernel}: scales must be above 0 and at most {MAX_SCALE:g}")
    if kernel.zero_points.any():
        raise TfliteError(f"{kernel}: zero points of weights must be 0")
    return np.ascontiguousarray(np.broadcast_to(scales.astype(np.float32), (channels,)))


def bias_of(scope: Scope, bias: FileTensor | None, channels: int) -> Int32Array:
    """A layer's int32 biases; zeros where it has none. TFLite takes them in units of input times weight scale."""
    if bias is None:
        return np.zeros(channels, np.int32)
    values = scope.int32(bias)
    if values.shape != (channels,):
        raise TfliteError(f"{bias} has shape {values.shape}, needs ({channels},)")
    return values
