"""The reward of a search under a latency target: MnasNet, arXiv 1807.11626v3, section 3, equation 2."""

from dataclasses import dataclass

from mnv3c.graph.errors import UserError

# MnasNet, section 3: 5 % of accuracy for twice the latency. MobileNetV3, section 4.1: small models need a steeper one.
MNASNET_EXPONENT = -0.07
SMALL_EXPONENT = -0.15


@dataclass(frozen=True)
class Reward:
    """ACC * (LAT / TAR)^w, where w is `below` for a latency of at most the target, else `above`.

    MnasNet's soft constraint has one exponent for both sides, its hard one 0 and -1. Raises UserError for a target
    that is not positive.
    """

    target_ms: float
    below: float = MNASNET_EXPONENT
    above: float = MNASNET_EXPONENT

    def __post_init__(self) -> None:
        if not self.target_ms > 0:
            raise UserError(f"the target latency must be above 0 ms, not {self.target_ms:g}")

    @classmethod
    def soft(cls, target_ms: float, exponent: float = MNASNET_EXPONENT) -> "Reward":
        """The same exponent on both sides of the target."""
        return cls(target_ms, exponent, exponent)

    @classmethod
    def hard(cls, target_ms: float) -> "Reward":
        """Accuracy up to the target; beyond, it falls with the latency."""
        return cls(target_ms, 0.0, -1.0)

    def __call__(self, accuracy: float, latency_ms: float) -> float:
        """The reward of an accuracy (0..1) at a latency."""
        ratio = latency_ms / self.target_ms
        return float(accuracy * ratio ** (self.below if ratio <= 1.0 else self.above))
