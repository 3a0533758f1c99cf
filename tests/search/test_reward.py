"""The reward: its values by hand, and that its variants agree where they should."""

import pytest

from mnv3c.graph.errors import UserError
from mnv3c.search.reward import MNASNET_EXPONENT, SMALL_EXPONENT, Reward


def test_at_the_target_the_reward_is_the_accuracy() -> None:
    for reward in (Reward.soft(50.0), Reward.soft(50.0, SMALL_EXPONENT), Reward.hard(50.0)):
        assert reward(0.75, 50.0) == 0.75


def test_twice_the_latency_costs_what_the_papers_say() -> None:
    """MnasNet, section 3: doubling the latency is worth 5 % of accuracy; MobileNetV3, 4.1: more for small models."""
    assert Reward.soft(50.0)(0.75, 100.0) == pytest.approx(0.75 * 0.95264, rel=1e-5)
    assert Reward.soft(50.0, SMALL_EXPONENT)(0.75, 100.0) == pytest.approx(0.75 * 0.90125, rel=1e-5)
    assert (MNASNET_EXPONENT, SMALL_EXPONENT) == (-0.07, -0.15)


def test_soft_rewards_being_faster_and_hard_does_not() -> None:
    assert Reward.soft(50.0)(0.75, 25.0) == pytest.approx(0.75 / 0.95264, rel=1e-5)
    assert Reward.hard(50.0)(0.75, 25.0) == 0.75
    assert Reward.hard(50.0)(0.75, 100.0) == 0.375


@pytest.mark.parametrize("target_ms", [0.0, -1.0, float("nan")])
def test_a_target_is_positive(target_ms: float) -> None:
    with pytest.raises(UserError, match="target latency must be above 0 ms"):
        Reward.soft(target_ms)
