"""Conversions at the network's end, taken over by the layers before them: a launch and a round trip to memory less."""

from collections import Counter
from dataclasses import replace
from typing import Any

from mnv3c.compiler.lower import KernelCall, LoweredNetwork


def delivered(network: LoweredNetwork) -> LoweredNetwork:
    """The network without those last conversions whose layer can write the caller's tensor itself.

    1. A call of a layer is rewritten where a conversion to an output reads what it gives, and nobody else does.
    2. Its candidate is then `candidate.delivering(layout)`, and the conversion is gone.
    3. Outputs that alias the caller's own input are copied as before.
    """
    readers = Counter(tensor.name for call in network.calls for tensor in call.inputs)
    ports = {tensor.name: tensor for tensor in network.outputs}
    taken = {
        call.inputs[0].name: call
        for call in network.calls
        if not call.nodes and call.output.name in ports and readers[call.inputs[0].name] == 1
    }
    writers = {call.output.name for call in network.calls if call.nodes} & set(taken)
    calls = [
        _delivering(call, taken[call.output.name]) if call.nodes and call.output.name in writers else call
        for call in network.calls
        if call.nodes or call.output.name not in ports or call.inputs[0].name not in writers
    ]
    return replace(network, calls=tuple(calls))


def _delivering(call: KernelCall, conversion: KernelCall) -> KernelCall:
    candidate: Any = call.candidate
    return replace(call, candidate=candidate.delivering(conversion.output.storage), output=conversion.output)
