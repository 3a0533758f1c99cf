"""TVM's own default for GPUs: its Relax pipeline with dlight's schedules, as OpenCL C and launch sizes."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpu_race.launches import OUTPUT, Launch, LayerKernels, Size, Values
from gpu_race.relax_layer import relax_module
from mnv3c.graph.errors import UserError
from mnv3c.graph.ops import Op
from mnv3c.graph.tensor import Layout

_EXTENT = re.compile(r'T\.launch_thread\("((?:block|thread)Idx\.[xyz])", (?:T\.int64\()?(\d+)')
_SIZE = re.compile(r"T\.decl_buffer\(\((\d+),\), (?:\"float32\", )?data=(\w+)")


class NotScheduledError(UserError):
    """dlight leaves the layer, or a part of it, without a GPU schedule."""


def default_kernels(op: Op, given: Mapping[str, Values], output_elements: int, layout: Layout) -> LayerKernels:
    """A layer's kernels from `relax.backend.gpu_generic`: legalised, fused, scheduled by dlight with all defaults.

    Raises NotScheduledError where a loop stays on the host. Imports TVM.
    """
    import tvm
    from tvm import tirx
    from tvm.relax.backend.gpu_generic import legalize_passes

    target = tvm.target.Target({"kind": "opencl", "host": {"kind": "llvm"}})
    with target, tvm.transform.PassContext(opt_level=3):
        module = tvm.transform.Sequential(legalize_passes(target))(relax_module(op, given, layout))
    functions = {each.name_hint: f for each, f in module.functions_items() if isinstance(f, tirx.PrimFunc)}
    if len(functions) != 1:
        raise NotScheduledError(
            f"{len(functions)} functions instead of one fused layer: {', '.join(sorted(functions))}"
        )
    ((name, function),) = functions.items()
    if not function.attrs.get("tirx.is_scheduled"):
        raise NotScheduledError(f"no rule of dlight takes {name}")
    *inputs, output = (parameter.name for parameter in function.params)
    names = dict(zip(inputs, _arguments(module), strict=True)) | {output: OUTPUT}
    buffers: dict[str, Values] = {**given, OUTPUT: np.full(output_elements, np.nan, np.float32)}
    launches = _launches(name, function, target, names, buffers)
    return LayerKernels(launches, buffers)


def _arguments(module: Any) -> list[str]:
    """The names of the parameters of `main` that its one call hands on, in order."""
    ((binding, *_),) = (block.bindings for block in module["main"].body.blocks)
    return [str(argument.name) for argument in binding.value.args[1].fields]


def _launches(
    name: str, function: Any, target: Any, names: Mapping[str, str], buffers: dict[str, Values]
) -> tuple[Launch, ...]:
    import tvm
    from tvm import tirx
    from tvm.tirx.build import split_host_device_mods

    with tvm.transform.PassContext(opt_level=3):
        lower, _, finish = tirx.get_default_tir_pipeline(target)
        whole = tvm.IRModule({name: function.with_attr("global_symbol", name)})
        host, devices = split_host_device_mods(lower(tirx.transform.BindTarget(target)(whole)))
        if "for " in _code(host):
            raise NotScheduledError(f"{name} leaves a loop on the host")
        ((bound, module),) = devices.items()
        module = finish()(module)
        text = tvm.get_global_func("target.build.opencl")(module, bound).inspect_source("cl")
    sources = dict(_split(text))
    kernels = {each.name_hint: kernel for each, kernel in module.functions_items()}
    # A reduction over several kernels numbers them in the order in which the host calls them.
    return tuple(_launch(each, kernels[each], sources[each], names, buffers) for each in _order(host, kernels))


def _launch(name: str, kernel: Any, source: str, names: Mapping[str, str], buffers: dict[str, Values]) -> Launch:
    code = kernel.script()
    extents: dict[str, int] = {}
    for place, extent in _EXTENT.findall(code):
        if extents.setdefault(place, int(extent)) != int(extent):
            raise NotScheduledError(f"{name} has two extents of {place}")
    wanted = set(map(str, kernel.attrs["tirx.kernel_launch_params"]))
    if not wanted or not wanted >= set(extents) or "threadIdx.x" not in extents:
        raise NotScheduledError(f"{name} is not bound to work items")
    sizes = {data: int(size) for size, data in _SIZE.findall(code)}
    arguments = []
    for parameter in kernel.params:
        buffer = names.get(parameter.name.removesuffix("_ptr"), parameter.name)
        if buffer not in buffers:
            buffers[buffer] = np.full(sizes[parameter.name], np.nan, np.float32)
        arguments.append(buffer)
    group = _size(extents, "threadIdx")
    items = tuple(count * each for count, each in zip(_size(extents, "blockIdx"), group, strict=True))
    return Launch(name, source, items, group, tuple(arguments))


def _size(extents: Mapping[str, int], kind: str) -> Size:
    return tuple(extents.get(f"{kind}.{axis}", 1) for axis in "xyz")


def _split(text: str) -> list[tuple[str, str]]:
    head, *parts = text.split("// Function: ")
    return [(part.partition("\n")[0].strip(), head + part.partition("\n")[2]) for part in parts]


def _code(module: Any) -> str:
    """The functions' statements, without their checks, whose messages may hold any word."""
    lines = module.script().splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("assert ", "#")))


def _order(host: Any, kernels: Mapping[str, Any]) -> list[str]:
    called = re.findall(r'T\.call_ffi_kernel\("(\w+)"', _code(host))
    order = [name for name in called if name in kernels]
    if sorted(order) != sorted(kernels):
        raise NotScheduledError(f"the host calls {order}, not each of {sorted(kernels)}")
    return order
