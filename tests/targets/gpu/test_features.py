"""Static features: counts that can be done by hand."""

import pytest
from tests.targets.gpu.test_families import LAYERS, runner, types

from mnv3c.graph.ops import Add, Conv2d
from mnv3c.targets.gpu.features import kernel_features
from mnv3c.targets.gpu.precision import Float


@pytest.mark.parametrize("storage", ["fp32", "fp16"])
def test_a_sum_of_two_maps_is_counted_exactly(storage: Float) -> None:
    gpu = runner("mali-g76", storage)
    work = gpu.work(Add(), types([(1, 16, 16, 16), (1, 16, 16, 16)]))
    candidate = gpu.candidates(work)[0]
    features = kernel_features(candidate, gpu.target.kernel_source(candidate, "add", gpu.device), gpu.device)
    stored = 2 if storage == "fp16" else 4
    assert features.work_items == 16 * 16 * 4 and features.work_groups == features.work_items // 64
    assert features.operations == 16 * 16 * 16
    assert (features.load_bytes, features.store_bytes) == (2 * 4096 * stored, 4096 * stored)
    assert features.argument_bytes == 3 * 4096 * stored and features.reuse == 1.0


@pytest.mark.parametrize("storage", ["fp32", "fp16"])
def test_a_product_does_two_operations_for_each_multiply_add(storage: Float) -> None:
    gpu = runner("adreno-640", storage)
    op, shape = Conv2d(32, bias=True), (1, 16, 16, 64)
    work = gpu.work(op, types([shape]))
    features = []
    for candidate in gpu.candidates(work):
        source = gpu.target.kernel_source(candidate, "product", gpu.device)
        features.append(kernel_features(candidate, source, gpu.device))
        # Two a multiply-add, and one an output for the bias.
        assert features[-1].operations == 2 * op.macs((work.inputs[0],)) + work.output.elements
        tile = candidate.parameters
        loads = 16 * 16 * 8 * (16 / tile["slices"] + 16 * 4 / tile["pixels"] + 1 / tile["pixels"])
        vector = 8 if storage == "fp16" else 16
        bias = 16 * 16 * 8 / tile["pixels"] * (16 - vector)
        assert features[-1].load_bytes == pytest.approx(loads * vector + bias)
        # Once for each input slice, and for the bias.
        assert features[-1].waits == 16 + 1
    assert len({each.load_bytes for each in features}) > 3
    assert {each.argument_bytes for each in features} == {features[0].argument_bytes}


@pytest.mark.parametrize(("family", "op", "shapes"), LAYERS)
def test_every_kernel_reads_its_arguments_and_writes_its_output(
    family: str, op: object, shapes: tuple[tuple[int, ...], ...]
) -> None:
    gpu = runner("mali-g72")
    work = gpu.work(op, types(shapes))  # type: ignore[arg-type]
    candidate = gpu.candidates(work)[0]
    features = kernel_features(candidate, gpu.target.kernel_source(candidate, family, gpu.device), gpu.device)
    assert features.store_bytes >= 4 * gpu.target.storage_elements(work.output, gpu.device)
    assert features.load_bytes > 0 and 0 < features.occupancy <= 1
