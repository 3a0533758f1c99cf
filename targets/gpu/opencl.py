"""From a PrimFunc bound to work items to OpenCL C, through TVM's code generation for OpenCL."""

import re
from dataclasses import dataclass
from typing import Any

from mnv3c.targets.gpu.device import GpuDevice
from mnv3c.targets.gpu.grid import Size
from mnv3c.targets.gpu.kernel import GpuCandidate

# TVM's own spelling: `float4 sum_ptr[1];` for a register, `(convert_int(get_local_id(0)))` for a place in the grid.
_REGISTER = re.compile(r"^ +\w+ (\w+_ptr(?:_\d+)?)\[1\];$", re.MULTILINE)
_PLACE = re.compile(r"\(convert_int\(get_(group|local)_id\(([012])\)\)\)")
_SPLAT = re.compile(r"\(\((float4|half4)\)\(([^,]+), \2, \2, \2\)\)")
_LANE = re.compile(r"\((\w+)\)\.(s[0-3])")
_HALVES = "#pragma OPENCL EXTENSION cl_khr_fp16 : enable\n"


@dataclass(frozen=True)
class KernelSource:
    """One kernel as OpenCL C, with the work items that it is launched with.

    Its parameters are `__global` pointers, in the order of the candidate's arguments.
    """

    name: str
    source: str
    global_size: Size
    local_size: Size


def kernel_source(candidate: GpuCandidate, symbol: str, device: GpuDevice) -> KernelSource:
    """The source of a candidate's kernel, called `symbol`. Imports TVM."""
    names = [parameter.name for parameter in candidate.buffers()]
    text = _source(candidate.build(symbol), symbol, names, device)
    # TVM puts a declaration before the definition, and before that, wherever it sees `half`, a demand for the
    # extension cl_khr_fp16, which kernels do not need that only store halves.
    body = _readable(text[text.rindex("__kernel void") :].rstrip() + "\n")
    pragma = _HALVES if candidate.precision.arithmetic == "fp16" else ""
    return KernelSource(symbol, pragma + body, candidate.grid.global_size, candidate.local)


def _readable(text: str) -> str:
    """Registers as plain variables, which no compiler puts into memory as it may an array; names for the grid; a
    scalar in all lanes as `(float4)(x)`.
    """
    for name in _REGISTER.findall(text):
        text = re.sub(rf"\b{name}\[[01]\]", name, text)
    places = sorted(set(_PLACE.findall(text)))
    declared = "".join(f"  const int {kind}_{'xyz'[int(axis)]} = get_{kind}_id({axis});\n" for kind, axis in places)
    text = _PLACE.sub(lambda found: f"{found[1]}_{'xyz'[int(found[2])]}", text)
    text = _LANE.sub(r"\1.\2", _SPLAT.sub(r"(\1)(\2)", text))
    head, brace, body = text.partition("{\n")
    return _unsuffixed(head + brace + declared + body)


def _unsuffixed(text: str) -> str:
    """Variables without TVM's `_ptr`, except where that would give two the same name."""
    names = sorted(set(re.findall(r"\b\w+_ptr(?:_\d+)?\b", text)))
    taken = set(re.findall(r"\b\w+\b", text))
    for name in names:
        short = name.replace("_ptr", "")
        if short not in taken:
            taken.add(short)
            text = re.sub(rf"\b{name}\b", short, text)
    return text


def _source(function: Any, symbol: str, names: list[str], device: GpuDevice) -> str:
    import tvm
    from tvm import tirx
    from tvm.tirx.build import split_host_device_mods

    target = tvm.target.Target(
        {
            "kind": "opencl",
            "max_num_threads": device.opencl.work_group_items,
            "max_shared_memory_per_block": device.opencl.local_memory_bytes,
            "thread_warp_size": device.cores.wave_items,
            "host": {"kind": "llvm"},
        }
    )
    # Common subexpressions are left to the device's compiler: TVM's pass names them without using them.
    config = {"tirx.disable_cse_tir": True, "tirx.disable_assert": True}
    with tvm.transform.PassContext(opt_level=3, config=config):
        lower, _, finish = tirx.get_default_tir_pipeline(target)
        module = lower(tirx.transform.BindTarget(target)(tvm.IRModule({symbol: function})))
        ((bound, device_module),) = split_host_device_mods(module)[1].items()
        ((_, kernel),) = finish()(device_module).functions.items()
        # The split sorts the parameters by name.
        given = {parameter.name.removesuffix("_ptr"): parameter for parameter in kernel.params}
        ordered = tirx.PrimFunc([given[name] for name in names], kernel.body, kernel.ret_type, kernel.attrs)
        ordered = ordered.with_attr("global_symbol", symbol)
        built = tvm.get_global_func("target.build.opencl")(tvm.IRModule({symbol: ordered}), bound)
    return str(built.inspect_source("cl"))
