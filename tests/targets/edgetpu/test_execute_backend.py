"""The backend that the compiler asks for by the name of a target."""

import numpy as np
import pytest
from tests.targets.edgetpu.small_networks import inverted_residual, quantised, random_input

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.reference import run
from mnv3c.targets.accelerator import is_accelerator, load_backend
from mnv3c.targets.device import Device
from mnv3c.targets.registry import devices, find_device, target_names


def test_which_targets_are_accelerators() -> None:
    assert [name for name in target_names() if is_accelerator(name)] == ["edgetpu"]
    with pytest.raises(UserError, match=r"target 'arm64' is no accelerator"):
        load_backend("arm64")
    with pytest.raises(UserError, match=r"there is no target 'edgetpus'"):
        load_backend("edgetpus")


def test_a_program_says_what_it_was_made_of() -> None:
    network = quantised(inverted_residual())
    backend = load_backend("edgetpu")
    program = backend.lower(network, find_device("tiny-8x8", kind=Device))
    assert [row.name for row in program.layers] == [
        node.name for node in network.graph.nodes if node.op.kind not in ("input", "flatten")
    ]
    assert program.memory["sram_bytes"] >= program.memory["peak_sram_bytes"]
    assert sum(row.weights_bytes for row in program.layers) == program.memory["weights_bytes"]
    ends = [
        row.output_address + int(np.prod(row.output_shape)) for row in program.layers if row.output_memory == "dram"
    ]
    assert max(ends) <= program.memory["dram_bytes"]
    loaded = backend.load(program.commands, "commands", program.image)
    assert (loaded.inputs, loaded.outputs) == (program.inputs, program.outputs)
    values = random_input(network, 1)
    ((name, expected),) = run(network, values).items()
    np.testing.assert_array_equal(loaded.run({"image": values})[name], expected)


def test_a_cpu_is_refused() -> None:
    cpu = devices("arm64")[0]
    with pytest.raises(UserError, match=r"is a CPU"):
        load_backend("edgetpu").lower(quantised(inverted_residual()), cpu)
