"""The MODEL argument and the network's options, declared once and shared by every command."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_type_hints

import typer

from mnv3c.graph.errors import UserError

# `mnv3c --help` imports this file, and shall not wait for NumPy and networkx.
if TYPE_CHECKING:
    from mnv3c.graph.ir import Graph

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="large, small, a graph (.yaml), an ONNX model (.onnx) or an int8 TFLite model (.tflite)."
    ),
]


def _network(*flags: str, metavar: str | None = None, help_text: str) -> Any:
    return typer.Option(*flags, metavar=metavar, help=help_text, rich_help_panel="Network", show_default=False)


@dataclass(frozen=True)
class ModelOptions:
    """What the command line said about the network; None where it said nothing."""

    width: Annotated[
        float | None, _network("--width", metavar="FACTOR", help_text="Multiplier of the channels. Default 1.0.")
    ] = None
    resolution: Annotated[
        str | None,
        _network("--resolution", metavar="N|HxW", help_text="Input in pixels, multiples of 32. Default 224."),
    ] = None
    minimalistic: Annotated[
        bool, _network("--minimalistic", help_text="No squeeze-excite, ReLU throughout, 3x3 kernels only.")
    ] = False
    head: Annotated[
        str | None,
        _network("--head", metavar="classifier|none|lraspp|ssdlite", help_text="What follows the backbone."),
    ] = None
    classes: Annotated[
        int | None, _network("--classes", metavar="N", help_text="Classes. Default 1000, for lraspp 19.")
    ] = None
    last_stage: Annotated[
        str | None,
        _network("--last-stage", metavar="efficient|original", help_text="Last stage, figure 5 of the paper."),
    ] = None
    stem_filters: Annotated[
        int | None, _network("--stem-filters", metavar="16|32", help_text="16 with h-swish, or 32 with ReLU.")
    ] = None
    hswish: Annotated[
        str | None,
        _network(
            "--hswish",
            metavar="paper|all|none|N",
            help_text="Where h-swish is used; N: in layers of at least N channels.",
        ),
    ] = None
    no_se: Annotated[bool, _network("--no-se", help_text="No squeeze-excite.")] = False
    output_stride: Annotated[
        int | None,
        _network(
            "--output-stride", metavar="32|16|8", help_text="Stride of the last feature map, for lraspp and none."
        ),
    ] = None
    reduce_tail: Annotated[
        bool, _network("--reduce-tail", help_text="Half the channels of the last stage, for lraspp, ssdlite and none.")
    ] = False
    seed: Annotated[int | None, _network("--seed", metavar="N", help_text="Seed of the weights. Default 0.")] = None
    shape: Annotated[
        list[str] | None,
        _network(
            "--shape", metavar="NAME:1,3,H,W", help_text="Shape of an ONNX model's input. Repeat for more inputs."
        ),
    ] = None


def with_model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option per field of ModelOptions in the place of its parameter `options: ModelOptions`.

    @app.command()
    @with_model_options
    def compile(model: ModelArgument = "large", *, options: ModelOptions, target: ...) -> None: ...
    """
    signature = inspect.signature(command, eval_str=True)
    hints = get_type_hints(ModelOptions, include_extras=True)
    expanded = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(ModelOptions)
    ]
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
        if parameter.name != "options"
    ]

    @functools.wraps(command)
    def expanded_command(**arguments: Any) -> None:
        options = ModelOptions(**{field.name: arguments.pop(field.name) for field in fields(ModelOptions)})
        command(**arguments, options=options)

    parameters = [*own, *expanded]
    vars(expanded_command)["__signature__"] = signature.replace(parameters=parameters)
    expanded_command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return expanded_command


def load_model(model: str, options: ModelOptions) -> "Graph":
    """The graph that a MODEL argument and its options name, with weights; of a .tflite the real numbers it stands for.

    Raises UserError for an unknown model or file, for network options beside a file, for `--shape` without an ONNX
    model, and for values that are not allowed.
    """
    if model in ("large", "small"):
        _refuse(model, options, ("shape",), "is for ONNX models")
        return _network_graph(cast(Literal["large", "small"], model), options)
    suffix = Path(model).suffix.lower()
    if suffix not in (".yaml", ".onnx", ".tflite"):
        raise UserError(
            f"unknown model '{model}': allowed are large, small, a .yaml graph, an .onnx or an int8 .tflite"
        )
    network_options = tuple(field.name for field in fields(ModelOptions) if field.name != "shape")
    _refuse(model, options, network_options, "is for the models large and small")
    if suffix == ".yaml":
        _refuse(model, options, ("shape",), "is for ONNX models")
        from mnv3c.graph.yaml_io import load_graph

        return load_graph(Path(model))
    if suffix == ".tflite":
        _refuse(model, options, ("shape",), "is for ONNX models")
        from mnv3c.graph.importers.tflite import import_tflite

        return import_tflite(Path(model)).graph
    from mnv3c.graph.importers.onnx import import_onnx

    return import_onnx(Path(model), _shapes(options.shape or []))


def _refuse(model: str, options: ModelOptions, names: tuple[str, ...], reason: str) -> None:
    for name in names:
        value = getattr(options, name)
        # A given 0 counts; an absent flag is False and an absent list None or empty.
        if value is not None and value is not False and value != []:
            raise UserError(f"--{name.replace('_', '-')} {reason}; it cannot be given with '{model}'")


def _network_graph(variant: Literal["large", "small"], options: ModelOptions) -> "Graph":
    from mnv3c.graph.networks import mobilenet_v3

    return mobilenet_v3(variant, **network_settings(options))


def network_settings(options: ModelOptions) -> dict[str, Any]:
    """What the command line said about large or small, as arguments of `mobilenet_v3`.

    Raises UserError for a resolution that is no number of pixels.
    """
    given: dict[str, Any] = {
        field.name: getattr(options, field.name)
        for field in fields(ModelOptions)
        if field.name not in ("no_se", "shape") and getattr(options, field.name) is not None
    }
    if options.resolution is not None:
        given["resolution"] = _resolution(options.resolution)
    if options.hswish is not None and options.hswish.isdecimal() and len(options.hswish) < 10:
        given["hswish"] = int(options.hswish)
    return {"se": not options.no_se, **given}


def _resolution(text: str) -> int | tuple[int, int]:
    extents = text.lower().split("x")
    if not all(extent.isascii() and extent.isdecimal() and len(extent) < 10 for extent in extents):
        raise UserError(f"--resolution must be N or HxW in pixels, as 224 or 1024x2048, not '{text}'")
    if len(extents) == 1:
        return int(extents[0])
    if len(extents) == 2:
        return int(extents[0]), int(extents[1])
    raise UserError(f"--resolution must be N or HxW in pixels, as 224 or 1024x2048, not '{text}'")


def _shapes(texts: list[str]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        # Names in ONNX may hold colons themselves.
        name, colon, extents = text.rpartition(":")
        parts = [part.strip() for part in extents.split(",")]
        if not colon or not name or not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
            raise UserError(f"--shape must be NAME:1,3,224,224, not '{text}'")
        if name in shapes:
            raise UserError(f"--shape gives input '{name}' twice")
        shapes[name] = tuple(int(part) for part in parts)
    return shapes
