"""What `mnv3c search` does: the search itself, its progress, its document and its table."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import typer

from mnv3c.cli.budget_bar import BudgetBar, budget_bar
from mnv3c.cli.model import load_model, network_settings
from mnv3c.cli.search import SearchRequest
from mnv3c.cli.search_latency import LatencySource, latency_source
from mnv3c.cli.search_plot import PlotPoints, write_search_plot
from mnv3c.cli.wide_console import wide_console
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.networks.options import NetworkOptions
from mnv3c.search.accuracy import Accuracy, FunctionAccuracy, TableAccuracy
from mnv3c.search.architecture import Architecture
from mnv3c.search.evolve import Evolution, EvolveSettings, Generation
from mnv3c.search.folder import SearchFolder
from mnv3c.search.netadapt import Found, NetAdapt, NetAdaptSettings, Step
from mnv3c.search.space_file import find_space

_TABLE_WIDTH = 110
_TRAINED = ("digits", "digits-moved")


def run_search(request: SearchRequest, as_json: bool) -> None:
    """Search, and print what was found. Raises UserError and MissingError as the parts do."""
    source = latency_source(request.device, request.table)
    accuracy = _accuracy(request)
    if request.strategy == "netadapt":
        _netadapt(request, source, accuracy, as_json)
    else:
        _evolve(request, source, accuracy, as_json)


def _accuracy(request: SearchRequest) -> Accuracy:
    source = request.accuracy
    if source in _TRAINED or source.startswith("train:"):
        return _training(source.removeprefix("train:"), request.train_steps)
    if request.train_steps is not None:
        raise UserError(f"--train-steps is for training; --accuracy {source} does not train")
    return TableAccuracy.read(Path(source)) if source.endswith(".csv") else FunctionAccuracy.load(source)


def _training(data: str, steps: tuple[int, int, int] | None) -> Accuracy:
    try:
        from mnv3c.search.train.trainer import TrainedAccuracy, Training
    except ImportError as error:
        raise MissingError(f"training needs PyTorch: pip install 'mnv3c[train]' ({error})") from None
    from mnv3c.search.train.data import load_data

    training = Training()
    if steps is not None:
        training = training.with_steps(*steps)
    return TrainedAccuracy(load_data(data), training)


def _start(request: SearchRequest) -> Architecture:
    """Raises UserError for a MODEL that there is not, or that NetAdapt cannot shrink."""
    if request.model not in ("large", "small"):
        # The seed is the search's too.
        return Architecture.of_graph(load_model(request.model, replace(request.options, seed=None)))
    variant = cast(Literal["large", "small"], request.model)
    given = {key: value for key, value in network_settings(request.options).items() if key != "seed"}
    return Architecture.of(NetworkOptions(variant=variant, **given))


def _netadapt(request: SearchRequest, source: LatencySource, accuracy: Accuracy, as_json: bool) -> None:
    start, latency = _start(request), source.latency
    passed_over = source.require_start(start, request.divisor)
    start_ms = latency(start.graph())
    target_ms = request.reduce * start_ms if request.target_ms is None else request.target_ms
    settings = NetAdaptSettings(target_ms, request.delta, request.divisor, request.seed)
    steps: list[Step] = []
    with _bar() as bar:
        if passed_over:
            bar.message(passed_over)

        def show(number: int, count: int, name: str) -> None:
            last_ms = steps[-1].latency_ms
            done = (start_ms - last_ms) / (start_ms - target_ms)
            bar.show(done, f"{last_ms:.3f} of {target_ms:.3f} ms, {number} of {count}: {name}")

        search = NetAdapt(start, accuracy, latency, settings, SearchFolder(request.output), request.resume, show)
        for step in search.steps():
            steps.append(step)
            if not as_json:
                bar.message(f"{step.number:3d}  {step.latency_ms:.4f} ms  {step.accuracy:.4f}  {step.change}")
        bar.show(1.0, "the last training")
        found = search.finish()
    if request.plot is not None:
        tried = [(each.latency_ms, each.accuracy) for step in steps for each in step.tried]
        path = [(step.latency_ms, step.accuracy) for step in steps]
        write_search_plot(request.plot, PlotPoints(tried, path, target_ms, True), f"NetAdapt: {start.name}")
    if as_json:
        described = [_step_document(start, step) for step in steps]
        typer.echo(json.dumps(_document(request, source, target_ms, described, found, search.met), indent=1))
        return
    _print_widths(start, steps)
    _print_found(request, source, target_ms, found)


def _evolve(request: SearchRequest, source: LatencySource, accuracy: Accuracy, as_json: bool) -> None:
    space, latency = find_space(cast(str, request.space)), source.latency
    resolution = _resolution(request, max(space.resolutions))
    source.require_space(space, resolution)
    largest_ms = latency(space.graph(space.largest(), resolution))
    settings = EvolveSettings(
        request.reduce * largest_ms if request.target_ms is None else request.target_ms,
        cast(Literal["evolve", "random"], request.strategy),
        request.population,
        request.generations,
        exponent=request.exponent,
        seed=request.seed,
    )
    done: list[Generation] = []
    with _bar() as bar:

        def show(number: int, count: int, name: str) -> None:
            share = (len(done) + number / count) / settings.generations
            bar.show(share, f"generation {len(done) + 1}, {number} of {count}")

        folder = SearchFolder(request.output)
        search = Evolution(space, resolution, accuracy, latency, settings, folder, request.resume, show)
        for generation in search.generations():
            done.append(generation)
            if not as_json:
                best = generation.best
                bar.message(f"{generation.number + 1:3d}  {best.latency_ms:.4f} ms  {best.accuracy:.4f}  {best.subnet}")
    found, front = search.finish(), tuple(search.archive())
    if request.plot is not None:
        judged = [(point.latency_ms, point.accuracy) for point in search.judged]
        edge = [(point.latency_ms, point.accuracy) for point in front]
        write_search_plot(
            request.plot, PlotPoints(judged, edge, settings.target_ms, False), f"{request.strategy}: {space.name}"
        )
    if as_json:
        described = [_generation_document(each) for each in done]
        document = _document(request, source, settings.target_ms, described, found, True)
        document["front"] = [vars(point) for point in front]
        typer.echo(json.dumps(document, indent=1))
        return
    _print_found(request, source, settings.target_ms, found)
    typer.echo(f"{len(front)} of {len(search.judged)} networks are beaten by none in latency and accuracy together")


def _resolution(request: SearchRequest, default: int) -> int:
    text = request.options.resolution
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= 8192):
        raise UserError(f"--resolution must be the side of a square in pixels, not '{text}'")
    return int(text)


@contextmanager
def _bar() -> Iterator[BudgetBar]:
    with budget_bar(1.0, "starting") as bar:
        yield bar


def _step_document(start: Architecture, step: Step) -> dict[str, Any]:
    return {
        "number": step.number,
        "change": step.change,
        "widths": start.with_table(step.table).widths,
        "latency_ms": step.latency_ms,
        "accuracy": step.accuracy,
        "tried": [vars(each) for each in step.tried],
    }


def _generation_document(generation: Generation) -> dict[str, Any]:
    return {
        "number": generation.number,
        "judged": generation.judged,
        "front": generation.front,
        "best": vars(generation.best),
    }


def _document(
    request: SearchRequest,
    source: LatencySource,
    target_ms: float,
    steps: list[dict[str, Any]],
    found: Found,
    met: bool,
) -> dict[str, Any]:
    return {
        "strategy": request.strategy,
        "latency": source.document,
        "target_ms": target_ms,
        "target_met": met,
        "steps": steps,
        "best": {
            "graph": str(request.output / "best.yaml"),
            "latency_ms": found.latency_ms,
            "accuracy": found.accuracy,
            "macs": found.graph.total_macs,
            **source.of_best(found.graph),
        },
    }


def _print_widths(start: Architecture, steps: Sequence[Step]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("block", "kernel", "stride", "expansion", "", "out", "", "SE", "activation"):
        table.add_column(header, justify="left" if header == "activation" else "right", no_wrap=True)
    pairs = zip(start.table.blocks, steps[-1].table.blocks, strict=True)
    for number, (before, after) in enumerate(pairs, start=1):
        table.add_row(
            str(number),
            f"{after.kernel}x{after.kernel}",
            str(after.stride),
            str(after.expansion),
            "" if after.expansion == before.expansion else f"of {before.expansion}",
            str(after.out),
            "" if after.out == before.out else f"of {before.out}",
            "yes" if after.se else "",
            str(after.activation),
        )
    wide_console(_TABLE_WIDTH).print(table)


def _print_found(request: SearchRequest, source: LatencySource, target_ms: float, found: Found) -> None:
    over = "" if found.latency_ms <= target_ms else ", which is over it: nothing more can be cut"
    typer.echo(
        f"{request.output / 'best.yaml'}: {found.latency_ms:.4f} ms {source.label(found.graph)} for a target of "
        f"{target_ms:.4f}{over}; accuracy {found.accuracy:.4f}, {found.graph.total_macs / 1e6:.2f} M MACs"
    )
