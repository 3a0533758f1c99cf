"""The work-groups that a tuner tries: within the device's limits, not mostly idle, the first guess first."""

import math

import pytest
from tests.targets.gpu.test_families import LAYERS, runner, types

from mnv3c.graph.errors import UserError
from mnv3c.targets.gpu.work_groups import with_work_groups


def test_first_guesses_come_first_and_others_fit() -> None:
    gpu = runner("mali-g72")
    seen = 0
    for _, op, shapes in LAYERS:
        own = tuple(gpu.candidates(gpu.work(op, types(shapes))))
        widened = with_work_groups(own, gpu.device)
        assert widened[: len(own)] == own and len(set(widened)) == len(widened)
        for other in widened[len(own) :]:
            assert other.movable and other.tile in [each.tile for each in own]
            assert math.prod(other.local) <= gpu.device.opencl.work_group_items
            assert all(size < 2 * items for size, items in zip(other.local, other.items, strict=True))
            seen += 1
        if not any(each.movable for each in own):
            assert widened == own
    assert seen > 20


@pytest.mark.parametrize("family", ["pointwise", "depthwise", "direct", "transposed", "elementwise"])
def test_others_compute_the_same(family: str) -> None:
    gpu = runner("mali-g76", "fp16")
    op, shapes = next((op, shapes) for name, op, shapes in LAYERS if name == family)
    work = gpu.work(op, types(shapes))
    own = gpu.candidates(work)
    others = with_work_groups(own, gpu.device)[len(own) :]
    assert others
    assert all(gpu.error(candidate, work) <= 2e-2 for candidate in others[::3])


def test_what_the_device_does_not_allow_is_left_out_or_refused() -> None:
    gpu = runner("adreno-640")
    own = gpu.candidates(gpu.work(LAYERS[0][1], types(LAYERS[0][2])))

    def limited(items: int) -> int:
        device = gpu.device.model_copy(
            update={"opencl": gpu.device.opencl.model_copy(update={"work_group_items": items})}
        )
        offered = with_work_groups([own[0], *(each.with_local((8, 2, 1)) for each in own)], device)
        assert all(math.prod(each.local) <= items for each in offered)
        return len(offered)

    assert math.prod(own[0].local) > 16
    assert 0 < limited(16) < limited(1024)
    with pytest.raises(UserError, match=r"a work-group of .* device 'adreno-640' allows 8 "):
        limited(8)
