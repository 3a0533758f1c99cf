"""Spaces as files: those that ship with the program, by name, and the user's own (.yaml)."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mnv3c.graph.activation import Activation
from mnv3c.graph.errors import UserError
from mnv3c.graph.networks.tables import TailLayer
from mnv3c.profiles.block import BlockActivation
from mnv3c.search.space import BlockChoices, Space, Stage
from mnv3c.targets.strict_yaml import read_mapping
from mnv3c.targets.violations import first_violation

_MOST_CHOICES = 4096
_RANGE = ("from", "to", "step")


def _listed(value: object) -> object:
    """One number, a list, or a range `{from, to, step}` of both ends, as a tuple."""
    if isinstance(value, dict):
        numbers = [value.get(key) for key in _RANGE]
        first, last, step = (number if type(number) is int else 0 for number in numbers)
        if set(value) != set(_RANGE) or min(first, last, step) < 1 or last < first or (last - first) % step:
            raise ValueError(
                "a range is {from, to, step}, which leads from one end to the other in whole steps above 0"
            )
        if (last - first) // step >= _MOST_CHOICES:
            raise ValueError(f"a range has at most {_MOST_CHOICES} numbers")
        return tuple(range(first, last + 1, step))
    return tuple(value) if isinstance(value, list) else (value,)


def _ascending(value: tuple[float, ...]) -> tuple[float, ...]:
    if list(value) != sorted(set(value)):
        raise ValueError("choices are written in ascending order, each once")
    return value


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("a kernel is odd")
    return value


_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]
_Text = Annotated[str, Field(pattern=r"^\S([^\r\n]*\S)?$", max_length=1000)]
_Channels = Annotated[int, Field(ge=1, le=2**14)]
_Pixels = Annotated[int, Field(ge=8, le=2**12)]
_Kernel = Annotated[int, Field(ge=1, le=31), AfterValidator(_odd)]
_Ratio = Annotated[float, Field(gt=0, le=64)]
_Checks = Field(min_length=1, max_length=_MOST_CHOICES)
_ChannelChoices = Annotated[tuple[_Channels, ...], BeforeValidator(_listed), AfterValidator(_ascending), _Checks]
_KernelChoices = Annotated[tuple[_Kernel, ...], BeforeValidator(_listed), AfterValidator(_ascending), _Checks]
_RatioChoices = Annotated[tuple[_Ratio, ...], BeforeValidator(_listed), AfterValidator(_ascending), _Checks]
_PixelChoices = Annotated[tuple[_Pixels, ...], BeforeValidator(_listed), AfterValidator(_ascending), _Checks]
_Depths = Annotated[
    tuple[Annotated[int, Field(ge=1, le=64)], ...], BeforeValidator(_listed), AfterValidator(_ascending), _Checks
]
_Tuple = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _ConvolutionFile(_Checked):
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=32)]
    channels: _Channels
    activation: BlockActivation

    def layer(self) -> TailLayer:
        return TailLayer(self.name, self.channels, Activation(self.activation))


class _StemFile(_Checked):
    channels: _Channels
    activation: BlockActivation


class _BlockFile(_Checked):
    kernel: _KernelChoices
    expand: _RatioChoices | None = None
    expansion: _ChannelChoices | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.expand is None) == (self.expansion is None):
            raise ValueError("a block has either expand (ratios to its input) or expansion (channels)")
        return self

    def choices(self) -> BlockChoices:
        return BlockChoices(self.kernel, self.expand or (), self.expansion or ())


class _StageFile(_Checked):
    channels: _ChannelChoices
    depth: _Depths | None = None
    kernel: _KernelChoices | None = None
    expand: _RatioChoices | None = None
    expansion: _ChannelChoices | None = None
    blocks: Annotated[tuple[_BlockFile, ...], _Tuple, Field(min_length=1, max_length=64)] | None = None
    stride: Annotated[int, Field(ge=1, le=2)]
    se: bool
    activation: BlockActivation

    @model_validator(mode="after")
    def _alike_or_listed(self) -> Self:
        alike = (self.kernel, self.expand, self.expansion)
        if self.blocks is not None and any(each is not None for each in alike):
            raise ValueError("a stage has either blocks, or kernel and expand or expansion for all its blocks")
        if self.blocks is None and (self.depth is None or self.kernel is None):
            raise ValueError("a stage without blocks has depth, kernel, and expand or expansion")
        if self.blocks is None and (self.expand is None) == (self.expansion is None):
            raise ValueError("a stage has either expand (ratios to a block's input) or expansion (channels)")
        if self.blocks is not None and self.depth is not None and max(self.depth) != len(self.blocks):
            raise ValueError("the greatest depth is the number of blocks listed")
        return self

    def stage(self) -> Stage:
        if self.blocks is not None:
            blocks = tuple(block.choices() for block in self.blocks)
        else:
            alike = BlockChoices(self.kernel or (), self.expand or (), self.expansion or ())
            blocks = (alike,) * max(self.depth or (1,))
        return Stage(self.channels, self.depth or (len(blocks),), blocks, self.stride, self.se, self.activation)


class _SpaceFile(_Checked):
    name: _Name
    title: _Text
    source: _Text
    resolutions: _PixelChoices
    stem: _StemFile
    stages: Annotated[tuple[_StageFile, ...], _Tuple, Field(min_length=1, max_length=32)]
    before_pool: Annotated[tuple[_ConvolutionFile, ...], _Tuple, Field(max_length=8)] = ()
    after_pool: Annotated[tuple[_ConvolutionFile, ...], _Tuple, Field(max_length=8)] = ()
    classes: Annotated[int, Field(ge=1, le=2**16)]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [layer.name for layer in (*self.before_pool, *self.after_pool)]
        taken = ("input", "stem", "pool", "flatten", "classifier")
        if len(set(names)) < len(names) or not set(names).isdisjoint(taken):
            raise ValueError(f"names of layers differ from each other and from {', '.join(taken)}")
        return self

    def space(self) -> Space:
        return Space(
            name=self.name,
            title=self.title,
            resolutions=self.resolutions,
            stem_channels=self.stem.channels,
            stem_activation=self.stem.activation,
            stages=tuple(stage.stage() for stage in self.stages),
            before_pool=tuple(layer.layer() for layer in self.before_pool),
            after_pool=tuple(layer.layer() for layer in self.after_pool),
            classes=self.classes,
        )


def load_space(path: Path) -> Space:
    """The space of a file. Raises UserError, in one line that names file, key and what is allowed."""
    document = read_mapping(path)
    try:
        return _SpaceFile.model_validate(document).space()
    except ValidationError as error:
        raise UserError(f"{path}: {first_violation(error, _SpaceFile, document)}") from None


def shipped_spaces() -> Mapping[str, Path]:
    """The files of the spaces that ship with the program, by name, in alphabetical order."""
    folder = Path(str(files("mnv3c.search"))) / "spaces"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_space(name: str) -> Space:
    """The space of a file (a name that ends in .yaml) or the shipped one of this name.

    Raises UserError, naming what there is, where there is none, and for a file that is no space.
    """
    if name.endswith(".yaml"):
        return load_space(Path(name))
    known = shipped_spaces()
    if name not in known:
        raise UserError(f"unknown space '{name}': a space is a .yaml file or one of {', '.join(known)}")
    return load_space(known[name])
