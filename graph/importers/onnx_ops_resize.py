"""ONNX's Resize and Upsample."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mnv3c.graph.importers.onnx_node import OnnxError, OnnxNode, Values
from mnv3c.graph.importers.onnx_scope import Handler, Scope, Tensor, Value
from mnv3c.graph.ops import Pair, Resize, ResizeCoordinates

MAX_EXTENT = 2**20  # of a resized map: bounds the index tables that are compared below

# half_pixel_symmetric differs from half_pixel only where the output's size is not a whole number, which is refused.
COORDINATES: dict[str, ResizeCoordinates] = {
    "half_pixel": "half_pixel",
    "half_pixel_symmetric": "half_pixel",
    "asymmetric": "asymmetric",
    "align_corners": "align_corners",
    "pytorch_half_pixel": "pytorch_half_pixel",
}
ROUNDINGS = ("floor", "round_prefer_floor")

Number = TypeVar("Number", int, float)
_Rules = tuple[str, str, str]  # mode, coordinates, rounding of nearest


@dataclass(frozen=True)
class _Axis:
    """One resampled axis: extents and the factor ONNX divides coordinates by."""

    before: int
    after: int
    scale: float

    def nearest(self, coordinates: str, rounding: str) -> Values:
        """Index read for every output, by ONNX's formulas in float32, as runtimes compute them."""
        out, scale = np.arange(self.after, dtype=np.float32), np.float32(self.scale)
        if coordinates == "asymmetric":
            at = out / scale
        elif coordinates == "align_corners":
            at = out * np.float32(self.before - 1) / np.float32(max(self.after - 1, 1))
        elif coordinates == "pytorch_half_pixel" and self.after == 1:
            at = np.zeros_like(out)
        else:
            at = (out + np.float32(0.5)) / scale - np.float32(0.5)
        index = np.floor(at) if rounding == "floor" else np.ceil(at - np.float32(0.5))
        clamped: Values = np.clip(index, 0, self.before - 1).astype(np.int64)
        return clamped

    def held(self, rule: ResizeCoordinates) -> Values:
        """Index read for every output by the IR's rule for nearest, in exact arithmetic."""
        out = np.arange(self.after, dtype=np.int64)
        if rule == "asymmetric":
            index = out * self.before // self.after
        else:
            # ceil((out + 1/2) * before / after - 1), on integers.
            index = -(-((2 * out + 1) * self.before - 2 * self.after) // (2 * self.after))
        return np.clip(index, 0, self.before - 1)


def _axis(before: int, scale: float | None, size: int | None) -> _Axis:
    if size is not None:
        after, factor = size, size / before
    else:
        factor = 1.0 if scale is None else scale
        if not np.isfinite(factor) or not 0 < factor * before <= MAX_EXTENT:
            raise OnnxError(f"scale {factor:g} is not supported")
        after = round(factor * before)
        if abs(factor * before - after) > 1e-5 * max(after, 1):
            raise OnnxError(f"scale {factor:g} of an extent of {before} is not a whole number")
    if not 0 < after <= MAX_EXTENT:
        raise OnnxError(f"resized extent {after} is not supported")
    return _Axis(before, after, factor)


def _emit(node: OnnxNode, scope: Scope, x: Tensor, axes: tuple[_Axis, _Axis], rules: _Rules) -> Value:
    mode, coordinates, rounding = rules
    size: Pair = (axes[0].after, axes[1].after)
    if mode == "linear":
        return scope.emit(node, Resize(size, "bilinear", COORDINATES[coordinates]), (x,))
    for held in ("asymmetric", "half_pixel"):
        rule = COORDINATES[held]
        if all(np.array_equal(axis.nearest(coordinates, rounding), axis.held(rule)) for axis in axes):
            return scope.emit(node, Resize(size, "nearest", rule), (x,))
    raise OnnxError(
        f"nearest with coordinate_transformation_mode '{coordinates}' and nearest_mode '{rounding}' reads other pixels "
        f"than 'asymmetric' with 'floor' or 'half_pixel' with 'round_prefer_floor', from {x.shape[2:]} to {size}"
    )


def _scaled(x: Tensor, scales: tuple[float | None, ...], sizes: tuple[int | None, ...]) -> tuple[_Axis, _Axis]:
    axes = tuple(_axis(before, scale, size) for before, scale, size in zip(x.shape, scales, sizes, strict=True))
    if any(axis.before != axis.after for axis in axes[:2]):
        raise OnnxError("only height and width can be resized")
    return axes[2], axes[3]


def _four(x: Tensor, values: Values) -> tuple[float, ...]:
    if values.dtype != np.float32 or values.shape != (len(x.shape),):
        raise OnnxError(f"scales must be {len(x.shape)} numbers of float32")
    return tuple(float(value) for value in values)


def _factors(node: OnnxNode, scope: Scope, x: Tensor) -> tuple[_Axis, _Axis]:
    axes = node.integers("axes", None, range(4))
    if not all(-4 <= axis < 4 for axis in axes) or len({axis % 4 for axis in axes}) != len(axes):
        raise OnnxError(f"attribute 'axes' is {list(axes)}")
    scales: dict[int, float] = {}
    sizes: dict[int, int] = {}
    node.ignore_input(1)  # the region of interest, of a mode that is refused
    # Opset 11 marks the one that is not meant with an empty list.
    if node.has(3) and scope.constant(node, 3).size:
        sizes = _by_axis(axes, scope.integers(node, 3))
        if node.has(2) and scope.constant(node, 2).size:
            raise OnnxError("has both scales and sizes")
    else:
        values = scope.constant(node, 2)
        if values.dtype != np.float32 or values.ndim != 1:
            raise OnnxError("scales must be a list of float32")
        scales = _by_axis(axes, tuple(float(value) for value in values))
    return _scaled(x, tuple(map(scales.get, range(4))), tuple(map(sizes.get, range(4))))


def _by_axis(axes: tuple[int, ...], values: tuple[Number, ...]) -> dict[int, Number]:
    if len(values) != len(axes):
        raise OnnxError(f"has {len(values)} scales or sizes for {len(axes)} axes")
    return {axis % 4: value for axis, value in zip(axes, values, strict=True)}


def resize(node: OnnxNode, scope: Scope) -> Value:
    """Resize, nearest or linear, by scales or sizes."""
    x = scope.map(node, 0)
    mode = node.only("mode", node.text("mode", "nearest"), ("nearest", "linear"))
    if node.opset < 11:
        scales = _four(x, scope.constant(node, 1))
        return _emit(node, scope, x, _scaled(x, scales, (None,) * 4), (mode, "asymmetric", "floor"))
    name = "coordinate_transformation_mode"
    coordinates = node.only(name, node.text(name, "half_pixel"), COORDINATES)
    rounding = node.text("nearest_mode", "round_prefer_floor")
    if mode == "nearest":
        node.only("nearest_mode", rounding, ROUNDINGS)
    node.zero("antialias", "exclude_outside")
    policy = "keep_aspect_ratio_policy"
    node.only(policy, node.text(policy, "stretch"), ("stretch",))
    node.ignore("cubic_coeff_a", "extrapolation_value")  # of modes that are refused
    return _emit(node, scope, x, _factors(node, scope, x), (mode, coordinates, rounding))


def upsample(node: OnnxNode, scope: Scope) -> Value:
    """Upsample, Resize's ancestor, deprecated since opset 10: asymmetric coordinates, rounded down."""
    x = scope.map(node, 0)
    mode = node.only("mode", node.text("mode", "nearest"), ("nearest", "linear"))
    if node.carries("scales"):
        scales = _four(x, np.array(node.numbers("scales"), dtype=np.float32))
    else:
        scales = _four(x, scope.constant(node, 1))
    return _emit(node, scope, x, _scaled(x, scales, (None,) * 4), (mode, "asymmetric", "floor"))


HANDLERS: dict[str, Handler] = {"Resize": resize, "Upsample": upsample}
