"""`mnv3c search`: networks that are fast enough on a device and as accurate as can be."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from mnv3c.cli.latency_source import SourceOption
from mnv3c.cli.model import ModelArgument, ModelOptions, with_model_options
from mnv3c.cli.profile_options import AsJson
from mnv3c.graph.errors import UserError

Strategy = Literal["netadapt", "evolve", "random"]
_STRATEGIES = ("netadapt", "evolve", "random")
# What a space fixes: only these of the network's options go with it.
_WITH_A_SPACE = ("resolution", "seed")
_AccuracyOption = Annotated[
    str,
    typer.Option(
        metavar="SOURCE",
        help="MODULE:FUNCTION of a graph, a .csv with the columns subnet and accuracy, or training on "
        "digits, digits-moved or train:MODULE:FUNCTION.",
    ),
]
_TrainStepsOption = Annotated[
    str | None,
    typer.Option(metavar="START,PROPOSAL,FINAL", help="Batches to train at the start, on a proposal and at the end."),
]
_ExponentOption = Annotated[
    float,
    typer.Option(help="evolve, random: w of the reward accuracy * (latency / target)^w below the target."),
]
_ReduceOption = Annotated[
    float, typer.Option(metavar="SHARE", help="Or a share of the latency of MODEL, or of the space's largest.")
]
_DeltaOption = Annotated[
    float, typer.Option(metavar="SHARE", help="netadapt: the least cut of a step, of the starting latency.")
]
_PlotOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Draw the path or the Pareto front (.png, .svg).")
]
_TableOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Or a table of latencies: the lut.json of mnv3c lut.")
]
_SpaceOption = Annotated[
    str | None, typer.Option(metavar="NAME|FILE", help="The space to draw from, for evolve and random.")
]


@dataclass(frozen=True)
class SearchRequest:
    """What the command line asked for."""

    strategy: Strategy
    model: str
    options: ModelOptions
    device: str | None
    table: Path | None
    accuracy: str
    output: Path
    space: str | None
    target_ms: float | None
    reduce: float
    delta: float
    divisor: int
    population: int
    generations: int
    exponent: float
    train_steps: tuple[int, int, int] | None
    resume: bool
    plot: Path | None

    @property
    def seed(self) -> int:
        """The seed of the search and of the weights."""
        return self.options.seed or 0


@with_model_options
def search(
    model: ModelArgument = "small",
    *,
    options: ModelOptions,
    strategy: Annotated[str, typer.Option(metavar="netadapt|evolve|random", help="How to search.")] = "netadapt",
    device: SourceOption = None,
    table: _TableOption = None,
    accuracy: _AccuracyOption,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the search and of what it finds.")
    ],
    space: _SpaceOption = None,
    target_ms: Annotated[float | None, typer.Option(help="The latency to reach.", show_default=False)] = None,
    reduce: _ReduceOption = 0.7,
    delta: _DeltaOption = 0.01,
    divisor: Annotated[int, typer.Option(min=1, help="netadapt: widths are multiples of this.")] = 8,
    population: Annotated[int, typer.Option(min=2, help="evolve, random: networks in a generation.")] = 50,
    generations: Annotated[int, typer.Option(min=1, help="evolve, random: generations.")] = 20,
    exponent: _ExponentOption = 0.0,
    train_steps: _TrainStepsOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in the folder.")] = False,
    plot: _PlotOption = None,
    as_json: AsJson = False,
) -> None:
    """Search for a network that meets a latency target on a device with the best accuracy.

    MODEL is what netadapt starts from: large, small, or a network of that form in a file, as another search found it.
    Every step is kept in the folder; best.yaml is what was found, and `mnv3c compile DIR/best.yaml` compiles it.

    Example: mnv3c search small --device pixel1-cpu-tflite --accuracy digits --resolution 64 --classes 10 -o found
    """
    if strategy not in _STRATEGIES:
        raise UserError(f"--strategy must be one of {', '.join(_STRATEGIES)}, not '{strategy}'")
    request = SearchRequest(
        strategy=cast(Strategy, strategy),
        model=model,
        options=options,
        device=device,
        table=table,
        accuracy=accuracy,
        output=output,
        space=space,
        target_ms=target_ms,
        reduce=reduce,
        delta=delta,
        divisor=divisor,
        population=population,
        generations=generations,
        exponent=exponent,
        train_steps=_train_steps(train_steps),
        resume=resume,
        plot=plot,
    )
    _check(request)
    from mnv3c.cli.search_run import run_search

    run_search(request, as_json)


def _check(request: SearchRequest) -> None:
    if not 0 < request.reduce < 1:
        raise UserError(f"--reduce must be between 0 and 1, not {request.reduce:g}")
    if request.plot is not None:
        from mnv3c.profiles.scatter import check_format

        check_format(request.plot)
    if request.strategy == "netadapt":
        if request.space is not None:
            raise UserError("--space is for --strategy evolve and random; netadapt starts from MODEL")
        if request.options.head not in (None, "classifier"):
            raise UserError(f"netadapt shrinks classifiers; it has no --head {request.options.head}")
        return
    if request.space is None:
        raise UserError(f"--strategy {request.strategy} needs --space")
    for field in fields(ModelOptions):
        if field.name not in _WITH_A_SPACE and getattr(request.options, field.name) not in (None, False, []):
            raise UserError(f"--{field.name.replace('_', '-')} cannot be given with --space")


def _train_steps(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() and 0 < int(part) < 10**9 for part in parts):
        raise UserError(f"--train-steps must be START,PROPOSAL,FINAL, as 800,12,400, not '{text}'")
    start, proposal, final = map(int, parts)
    return start, proposal, final
