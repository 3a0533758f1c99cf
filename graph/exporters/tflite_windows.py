"""Integer products and pools as TFLite operators."""

import numpy as np
import tflite

from mnv3c.graph.exporters import tflite_options as options
from mnv3c.graph.exporters.tflite_model import Quantization
from mnv3c.graph.exporters.tflite_rules import Fused, same_padding
from mnv3c.graph.exporters.tflite_site import INT8_VERSION, Site
from mnv3c.graph.integer.affine import INT8_MIN, Affine
from mnv3c.graph.integer.ops import Product, Window
from mnv3c.graph.ops import Conv2d, Dense
from mnv3c.graph.shapes import Padding, Pair

Op = tflite.BuiltinOperator

# Versions of operators for int8 (tools/versioning/op_version.cc).
CONV_VERSION, GROUPED_CONV_VERSION = 3, 6
DEPTHWISE_VERSION = 3
FULLY_CONNECTED_VERSION, FULLY_CONNECTED_PER_CHANNEL_VERSION = 4, 12


def emit_product(step: Product, site: Site) -> int:
    """FULLY_CONNECTED, CONV_2D or DEPTHWISE_CONV_2D; index of its output."""
    fused = site.fused(step.clamp, step.output)
    return _dense(step, site, fused) if isinstance(step.op, Dense) else _convolution(step, step.op, site, fused)


def _dense(step: Product, site: Site, fused: Fused) -> int:
    quantization = Quantization.symmetric(step.weight_scales, axis=0)
    weight = site.builder.constant(f"{site.prefix}.weight", step.weight.T, quantization)
    inputs = (site.inputs[0], weight, _bias(step, site))
    output = site.result(step.output)
    whole = len(quantization.scales) == 1
    version = FULLY_CONNECTED_VERSION if whole else FULLY_CONNECTED_PER_CHANNEL_VERSION
    site.builder.operator(Op.FULLY_CONNECTED, version, inputs, output, options.fully_connected(fused))
    return output


def _convolution(step: Product, op: Conv2d, site: Site, fused: Fused) -> int:
    x = site.types[0]
    same, source = _padded(op.kernel, op.stride, op.dilation, op.padding, step.input, site)
    depthwise = op.groups == x.channels and op.groups > 1
    # (h, w, in / groups, out) to (out, h, w, in / groups), or to (1, h, w, out) for one filter of depth 1 per output.
    weight = step.weight.transpose(2, 0, 1, 3) if depthwise else step.weight.transpose(3, 0, 1, 2)
    quantization = Quantization.symmetric(step.weight_scales, axis=3 if depthwise else 0)
    kernel = site.builder.constant(f"{site.prefix}.weight", weight, quantization)
    inputs = (source, kernel, _bias(step, site))
    output = site.result(step.output)
    if depthwise:
        attributes = options.depthwise(same, op.stride, op.dilation, op.out_channels // op.groups, fused)
        site.builder.operator(Op.DEPTHWISE_CONV_2D, DEPTHWISE_VERSION, inputs, output, attributes)
    else:
        version = CONV_VERSION if op.groups == 1 else GROUPED_CONV_VERSION
        attributes = options.convolution(same, op.stride, op.dilation, fused)
        site.builder.operator(Op.CONV_2D, version, inputs, output, attributes)
    return output


def _bias(step: Product, site: Site) -> int:
    scales = (np.float32(step.input.scale) * step.weight_scales).astype(np.float32)
    return site.builder.constant(f"{site.prefix}.bias", step.bias, Quantization.symmetric(scales, axis=0))


def _padded(
    kernel: Pair, stride: Pair, dilation: Pair, padding: Padding, affine: Affine, site: Site
) -> tuple[bool, int]:
    """Whether the operator pads as SAME, and the tensor that it reads: one padded before where SAME is not it."""
    if padding == same_padding(site.types[0].spatial, kernel, stride, dilation):
        return True, site.inputs[0]
    if any(padding):
        return False, _pad(padding, affine, site, None)
    return False, site.inputs[0]


def _pad(padding: Padding, affine: Affine, site: Site, value: int | None) -> int:
    """A tensor with int8 `value`, or the zero point, around the input."""
    top, left, bottom, right = padding
    batch, height, width, channels = site.types[0].shape
    amounts = site.shaped("paddings", ((0, 0), (top, bottom), (left, right), (0, 0)))
    shape = (batch, top + height + bottom, left + width + right, channels)
    if value is None:
        output = site.builder.tensor(f"{site.prefix}.padded", shape, affine)
        site.builder.operator(Op.PAD, INT8_VERSION, (site.inputs[0], amounts), output, options.pad())
        return output
    filler = site.builder.constant(f"{site.prefix}.filler", np.array([value], np.int8), Quantization.of(affine))
    output = site.builder.tensor(f"{site.prefix}.padded", shape, affine)
    site.builder.operator(Op.PADV2, INT8_VERSION, (site.inputs[0], amounts, filler), output, options.pad_with())
    return output


def emit_window(step: Window, site: Site) -> int:
    """MAX_POOL_2D or AVERAGE_POOL_2D; index of its output."""
    op = step.op
    same = op.padding == same_padding(site.types[0].spatial, op.kernel, op.stride, (1, 1))
    source = site.inputs[0]
    if any(op.padding) and op.mode == "average" and (op.count_padding or not same):
        raise site.refuse(f"AVERAGE_POOL_2D has no padding {op.padding} with count_padding={op.count_padding}")
    if any(op.padding) and not same:
        # The least int8 never wins a maximum.
        source = _pad(op.padding, step.affine, site, INT8_MIN)
    code = Op.MAX_POOL_2D if op.mode == "max" else Op.AVERAGE_POOL_2D
    output = site.result(step.affine)
    site.builder.operator(code, INT8_VERSION, (source,), output, options.pool(same, op.kernel, op.stride))
    return output
