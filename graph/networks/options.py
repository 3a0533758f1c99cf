"""The options of a network, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeGuard, get_args

from mnv3c.graph.errors import UserError
from mnv3c.graph.networks.tables import Variant

Head = Literal["classifier", "none", "lraspp", "ssdlite"]
LastStage = Literal["efficient", "original"]
Resolution = int | tuple[int, int]
HSwish = Literal["paper", "all", "none"] | int

MAX_RESOLUTION = 8192
MAX_WIDTH = 10.0
MAX_CLASSES = 1_000_000


@dataclass(frozen=True)
class HeadRule:
    """What a head allows: its output strides (the first is the default), its default classes, a halved tail."""

    output_strides: tuple[int, ...]
    classes: int | None
    reduce_tail: bool


HEAD_RULES: Mapping[Head, HeadRule] = MappingProxyType(
    {
        "classifier": HeadRule(output_strides=(32,), classes=1000, reduce_tail=False),
        "none": HeadRule(output_strides=(32, 16, 8), classes=None, reduce_tail=True),
        "lraspp": HeadRule(output_strides=(16, 8), classes=19, reduce_tail=True),
        "ssdlite": HeadRule(output_strides=(32,), classes=None, reduce_tail=True),
    }
)


@dataclass(frozen=True)
class NetworkOptions:
    """All options of `mobilenet_v3`, with its meanings. Raises UserError for a value that is not allowed."""

    variant: Variant = "large"
    width: float = 1.0
    resolution: Resolution = 224
    minimalistic: bool = False
    head: Head = "classifier"
    classes: int | None = None
    last_stage: LastStage = "efficient"
    stem_filters: int = 16
    hswish: HSwish = "paper"
    se: bool = True
    output_stride: int | None = None
    reduce_tail: bool = False
    batch_norm: bool = True

    def __post_init__(self) -> None:
        _require_choice("variant", self.variant, get_args(Variant))
        _require_choice("head", self.head, get_args(Head))
        _require_choice("last_stage", self.last_stage, get_args(LastStage))
        _require_choice("stem_filters", self.stem_filters, (16, 32))
        for name in ("minimalistic", "se", "reduce_tail", "batch_norm"):
            _require_choice(name, getattr(self, name), (True, False))
        _require_width(self.width)
        _require_resolution(self.resolution)
        _require_hswish(self.hswish, self.minimalistic)
        _require_head_options(self.head, self.classes, self.output_stride, self.reduce_tail)

    @property
    def size(self) -> tuple[int, int]:
        """Input (height, width) in pixels."""
        return self.resolution if isinstance(self.resolution, tuple) else (self.resolution, self.resolution)

    @property
    def stride(self) -> int:
        """Output stride in force."""
        return self.output_stride or HEAD_RULES[self.head].output_strides[0]

    @property
    def class_count(self) -> int:
        """Classes in force: 1000 (ImageNet) for the classifier, 19 (Cityscapes) for LR-ASPP, 0 for heads without."""
        return self.classes or HEAD_RULES[self.head].classes or 0

    @property
    def name(self) -> str:
        """Name of the network: the variant, then each option that differs from its default."""
        height, width = self.size
        resolution = f"r{height}" if height == width else f"r{height}x{width}"
        parts = (
            ("minimalistic", self.minimalistic),
            (f"w{self.width:.10g}", self.width != 1.0),
            (resolution, self.size != (224, 224)),
            ("features" if self.head == "none" else self.head, self.head != "classifier"),
            (f"c{self.class_count}", self.class_count != (HEAD_RULES[self.head].classes or 0)),
            (self.last_stage, self.last_stage != "efficient"),
            (f"stem{self.stem_filters}", self.stem_filters != 16),
            (f"hswish_{self.hswish}", self.hswish != "paper"),
            ("no_se", not self.se),
            (f"os{self.stride}", self.stride != HEAD_RULES[self.head].output_strides[0]),
            ("half_tail", self.reduce_tail),
            ("no_bn", not self.batch_norm),
        )
        return "_".join([f"mobilenet_v3_{self.variant}", *(text for text, given in parts if given)])


def _require_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if not any(value == choice and type(value) is type(choice) for choice in allowed):
        raise UserError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}")


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _require_integer(name: str, value: object, low: int, high: int) -> None:
    if not _is_integer(value) or not low <= value <= high:
        raise UserError(f"{name} must be an integer from {low} to {high}, not {value!r}")


def _require_width(value: object) -> None:
    if not (_is_integer(value) or isinstance(value, float)) or not 0 < value <= MAX_WIDTH:
        raise UserError(f"width must be a positive number up to {MAX_WIDTH:g}, not {value!r}")


def _require_resolution(value: object) -> None:
    extents = value if isinstance(value, tuple) and len(value) == 2 else (value,)
    if not all(_is_integer(extent) and extent % 32 == 0 and 32 <= extent <= MAX_RESOLUTION for extent in extents):
        allowed = f"a multiple of 32 from 32 to {MAX_RESOLUTION}, or a pair (height, width) of such"
        raise UserError(f"resolution must be {allowed}, not {value!r}")


def _require_hswish(value: object, minimalistic: bool) -> None:
    named = isinstance(value, str) and value in ("paper", "all", "none")
    counted = _is_integer(value) and value >= 1
    if not named and not counted:
        raise UserError(f"hswish must be paper, all, none or a number of channels from 1, not {value!r}")
    if minimalistic and value not in ("paper", "none"):
        raise UserError(f"hswish must be none in a minimalistic network, not {value!r}")


def _require_head_options(head: Head, classes: int | None, output_stride: int | None, reduce_tail: bool) -> None:
    rule = HEAD_RULES[head]
    if classes is not None:
        _require_integer("classes", classes, 1, MAX_CLASSES)
        if rule.classes is None:
            raise UserError(f"classes is for the heads classifier and lraspp; head '{head}' has none, not {classes}")
    if output_stride is not None:
        allowed = rule.output_strides
        if output_stride not in allowed or isinstance(output_stride, bool):
            raise UserError(
                f"output_stride must be {' or '.join(map(str, allowed))} for head '{head}', not {output_stride!r}"
            )
    if reduce_tail and not rule.reduce_tail:
        raise UserError(f"reduce_tail is for the heads none, lraspp and ssdlite, not '{head}'")
