"""Bring your own codegen: a Relax module hands some of its layers to the emulated accelerator, the CPU does the rest.

`offload` finds convolutions (with bias and activation) in a module's `main`, and makes each that it is told to a
function of its own with the attribute Codegen="edgetpu"; TVM's RunCodegen then asks `relax.ext.edgetpu` for the code of
those functions. That is a stub in LLVM, which calls back into Python, where the accelerator executes the layer's
commands: quantised on the way in, dequantised on the way out, so that two offloaded neighbours exchange exact integers.

Traps, TVM 0.27:
- RunCodegen calls the registered function once for all functions of one Codegen name, and links what it returns by the
  attribute `global_symbol`, so each stub must be called like its function.
- A stub takes the function's arguments and then its output (`call_dps_packed`). Weights become arguments as well unless
  FuseOpsByPattern binds constants.
- With `annotate_codegen` FuseOpsByPattern wraps every match, and a function that was wrapped cannot stay on the CPU:
  its inner function is a closure. So matches are annotated here, one by one.
- What a call back gets are borrowed views of the VM's memory: the output is written in place, nothing may be kept, and
  `numpy.from_dlpack` of one ends the process (segmentation fault); `numpy()` and `copyfrom` work.
- `T.call_packed` looks its function up when it is called, in the process where the module runs: a module that was
  exported and loaded elsewhere needs `offload`'s functions registered there.
- The functions that TVM's registry holds stay for the life of the process; they are named after what they compute, so
  that offloading the same layer twice registers it once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.network import IntegerNetwork
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Input
from mnv3c.targets.edgetpu.command_text import format_stream
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.execute import Accelerator
from mnv3c.targets.edgetpu.lower_commands import LoweredNetwork, lower_commands
from mnv3c.targets.edgetpu.lower_work import jobs_of, outputs_of
from mnv3c.targets.edgetpu.planner import plan

CODEGEN = "edgetpu"
_COMPOSITE = "edgetpu.layer"
_CALLBACK = "edgetpu_callback"
_LLVM = "llvm"


def offload(module: Any, network: IntegerNetwork, device: AcceleratorDevice, layers: Sequence[str | None]) -> Any:
    """A Relax module whose convolutions run on the emulated accelerator.

    `layers` names the network's layer for each convolution of `main` in order, None for one that stays on the CPU.
    Tensors are float32 in NHWC, and a layer's residual is not part of what is matched (it must have none). The result
    is built as any Relax module is, for the CPU.

    Raises UserError where the numbers of layers and convolutions differ, for a layer that the network does not have or
    that has several inputs, and for shapes that differ.
    """
    from tvm import relax

    module = relax.transform.FuseOpsByPattern(_patterns(), bind_constants=True, annotate_codegen=False)(module)
    matched = _matched(module)
    if len(matched) != len(layers):
        raise UserError(f"the module has {len(matched)} convolutions, but {len(layers)} layers were named")
    register()
    for variable, layer in zip(matched, layers, strict=True):
        if layer is not None:
            function = module[variable]
            site = OffloadedLayer.of(network, device, layer)
            site.require_shapes(_shapes(function))
            attributes = {"Codegen": CODEGEN, "global_symbol": variable.name_hint, _CALLBACK: site.register()}
            module[variable] = function.without_attr("Composite").with_attrs(attributes)
    return relax.transform.RunCodegen()(module)


def register() -> None:
    """Makes `relax.ext.edgetpu` known to TVM; doing so again changes nothing."""
    import tvm_ffi

    tvm_ffi.register_global_func(f"relax.ext.{CODEGEN}", _codegen, override=True)


@dataclass(frozen=True, eq=False)
class OffloadedLayer:
    """One layer in an accelerator of its own."""

    name: str
    lowered: LoweredNetwork

    @classmethod
    def of(cls, network: IntegerNetwork, device: AcceleratorDevice, layer: str) -> "OffloadedLayer":
        """Lower a layer of a network. Raises UserError for one that is not there or that has several inputs."""
        if layer not in network.layers:
            raise UserError(f"quantised network '{network.graph.name}' has no layer '{layer}'")
        alone = single_layer(network, layer)
        chosen = plan(jobs_of(alone.graph), outputs_of(alone.graph), device)
        return cls(layer, lower_commands(chosen, alone, device))

    def require_shapes(self, found: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
        """Raises UserError unless input and output have these shapes."""
        stream = self.lowered.stream
        wanted = stream.inputs[0].shape, stream.outputs[0].shape
        if wanted != found:
            raise UserError(
                f"layer '{self.name}' is {wanted[0]} -> {wanted[1]}, the module has {found[0]} -> {found[1]}"
            )

    def register(self) -> str:
        """The name under which TVM finds the function that executes the layer."""
        import tvm_ffi

        digest = sha256(format_stream(self.lowered.stream).encode() + self.lowered.image.tobytes()).hexdigest()
        name = f"mnv3c.{CODEGEN}.{digest[:16]}"
        tvm_ffi.register_global_func(name, self.callback(), override=True)
        return name

    def callback(self) -> Callable[[Any, Any], None]:
        """The layer on real numbers: a float32 input tensor, and the output tensor that is filled."""
        accelerator = Accelerator.holding(self.lowered.stream, self.lowered.image)
        (given,), (got,) = self.lowered.stream.inputs, self.lowered.stream.outputs

        def execute(x: Any, out: Any) -> None:
            integers = accelerator.run({given.name: given.affine.quantize(x.numpy())})[got.name]
            out.copyfrom(got.affine.dequantize(integers))

        return execute


def single_layer(network: IntegerNetwork, layer: str) -> IntegerNetwork:
    """The network of one layer alone. Raises UserError for a layer with several inputs."""
    graph, node = network.graph, network.graph[layer]
    if len(node.inputs) != 1:
        raise UserError(f"layer '{layer}' has {len(node.inputs)} inputs; only layers with one can be offloaded")
    (source,) = node.inputs
    nodes = (Node(source, Input(graph.type_of(source).shape)), node)
    return IntegerNetwork(
        Graph(layer, nodes, (layer,)),
        {source: network.affine(source)},
        {layer: network.layers[layer]},
        network.rounding,
    )


def _patterns() -> list[tuple[str, Any]]:
    """Convolutions with bias and activation, the longest first: clip, relu, and h-swish as Relax spells it."""
    from tvm.relax.dpl import is_op, wildcard

    convolution = is_op("relax.nn.conv2d")(wildcard(), wildcard())
    biased = is_op("relax.add")(convolution, wildcard())
    found = []
    for sums in (biased, convolution):
        gate = is_op("relax.clip")(is_op("relax.add")(sums, wildcard()), wildcard(), wildcard())
        scaled = is_op("relax.multiply")(is_op("relax.multiply")(sums, gate), wildcard())
        found += [scaled, is_op("relax.clip")(sums, wildcard(), wildcard()), is_op("relax.nn.relu")(sums), sums]
    return [(_COMPOSITE, pattern) for pattern in found]


def _matched(module: Any) -> list[Any]:
    """The matched functions, in the order in which `main` calls them."""
    from tvm import ir, relax

    found = []
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            value = getattr(binding, "value", None)
            if isinstance(value, relax.Call) and isinstance(value.op, ir.GlobalVar):
                attributes = module[value.op].attrs
                if attributes is not None and attributes.get("Composite") == _COMPOSITE:
                    found.append(value.op)
    return found


def _shapes(function: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of a function's first argument and of its result."""
    first, result = function.params[0].ty, function.ret_ty
    return tuple(int(extent) for extent in first.shape), tuple(int(extent) for extent in result.shape)


def _codegen(functions: Any, options: Any, constant_names: Any) -> list[Any]:
    """What RunCodegen asks for: a runtime module for each function."""
    del options, constant_names  # the functions say all; constants are bound
    return list(_stubs(functions))


def _stubs(functions: Any) -> Iterator[Any]:
    import tvm
    from tvm import tirx
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script.builder import ir

    for function in functions:
        symbol, shapes = str(function.attrs["global_symbol"]), _shapes(function)
        with IRBuilder() as builder, ir.prim_func(s_tir=True):
            ir.func_name(symbol)
            ir.func_attr({"global_symbol": symbol})
            buffers = [ir.arg(name, ir.buffer(shape, "float32")) for name, shape in zip("xy", shapes, strict=True)]
            ir.evaluate(tirx.call_packed(str(function.attrs[_CALLBACK]), *buffers))
        yield tvm.compile(tvm.IRModule({symbol: builder.get()}), target=_LLVM).mod
