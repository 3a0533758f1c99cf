"""Rows that a plan chooses against random ones: python benchmarks/plan_curve.py --help.

A profile of the Pixel 4 is transferred to the Pixel 6 by few of its 854 blocks, and the other way round, and predicts
all the others.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from command_line import run_command_line

from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.whole_file import write_whole
from mnv3c.profiles.metrics import Metrics, Predictions
from mnv3c.profiles.model.crossval import item_ms
from mnv3c.profiles.model.dataset import Dataset, dataset_of
from mnv3c.profiles.model.fit import fit
from mnv3c.profiles.model.model import Model
from mnv3c.profiles.physics.registry import physics_of
from mnv3c.profiles.plan import choose, transfer_features
from mnv3c.profiles.readers import blocks_csv
from mnv3c.profiles.scatter import check_format, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PHONES = ("pixel4", "pixel6")


@dataclass(frozen=True)
class Point:
    """Error on the blocks left over after `rows` were measured: of the planned ones, of random draws (seeds,)."""

    prior: str
    device: str
    rows: int
    planned_mape: float
    random_mape: tuple[float, ...]

    @property
    def random_median(self) -> float:
        """The median of the draws."""
        return median(self.random_mape)


def main() -> None:
    """Run the command; exit 2 for wrong input and 3 for what is missing, with one line on stderr."""
    run_command_line("plan_curve", plan_curve)


def plan_curve(
    rows: Annotated[str, typer.Option(metavar="N,...", help="Numbers of measured rows.")] = "3,5,10,15,20,30,50",
    seeds: Annotated[int, typer.Option(min=2, help="Random draws to compare with.")] = 20,
    output: Annotated[Path, typer.Option(metavar="FILE", help="The plot, .png or .svg.")] = Path("plan_curve.svg"),
    data: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the public tables are.")] = DATA,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here too.")
    ] = None,
) -> None:
    """Transfer a profile from one phone to another by N planned rows and by N random ones.

    Example: python benchmarks/plan_curve.py --rows 10 --output plan.png
    """
    check_format(output)
    counts = _counts(rows)
    blocks = {phone: blocks_of(data / f"blocks_{phone}_cpu_tflite_fp32.csv") for phone in PHONES}
    points = []
    for prior, device in (PHONES, PHONES[::-1]):
        model = fit(blocks[prior], physics_of("cpu"))
        points += curve(prior, device, model, blocks[device], counts, seeds)
    typer.echo(_table(points), nl=False)
    if json_file is not None:
        write_whole(json_file, json.dumps([asdict(point) for point in points], indent=1) + "\n")
    draw(points, output)


def curve(prior: str, device: str, model: Model, pool: Dataset, counts: Sequence[int], seeds: int) -> list[Point]:
    """The errors of a model transferred to a device, by number of rows; a shorter plan begins a longer one."""
    plan = choose(transfer_features(model, pool.table), max(counts))
    points = []
    for count in counts:
        draws = [np.random.default_rng(seed).choice(len(pool), count, replace=False) for seed in range(seeds)]
        planned = error_after(model, pool, plan[:count])
        points.append(Point(prior, device, count, planned, tuple(error_after(model, pool, draw) for draw in draws)))
    return points


def error_after(model: Model, pool: Dataset, rows: Sequence[int] | np.ndarray) -> float:
    """MAPE, in percent, on the rest of the pool once these rows were measured."""
    taken = np.zeros(len(pool), np.bool_)
    taken[list(rows)] = True
    rest = pool.take(~taken)
    transferred = fit(pool.take(taken), model.physics, (model,))
    mape = Metrics.of(Predictions(rest.latency_ms, item_ms(transferred, rest))).mape
    if mape is None:
        raise UserError(f"{len(rows)} rows leave none of {len(pool)} to predict")
    return mape


def draw(points: Sequence[Point], path: Path) -> None:
    """Error against number of rows, one plot a pair: random draws as dots and boxes, the plan as a line."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pairs = sorted({(point.prior, point.device) for point in points})
    with rc_context({"svg.hashsalt": "mnv3c", "font.family": "DejaVu Sans", "font.size": 9}):
        figure = Figure(figsize=(4.8 * len(pairs), 4.2), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle("A profile transferred by few measured blocks: planned against random rows", weight="bold")
        plots = figure.subplots(1, len(pairs), sharey=True, squeeze=False)[0]
        top = 1.1 * max(max(point.planned_mape, _whisker(point.random_mape)) for point in points)
        for axes, (prior, device) in zip(plots, pairs, strict=True):
            _draw_pair(axes, [point for point in points if (point.prior, point.device) == (prior, device)], top)
            axes.set(title=f"{prior} to {device}", xlabel="measured blocks", ylim=(0, top))
        plots[0].set_ylabel("MAPE on the blocks left over (%)")
        plots[0].legend(loc="lower left", fontsize=8, framealpha=0.95)
        save_figure(figure, path)


def _whisker(values: Sequence[float]) -> float:
    """Above this a draw is an outlier: 1.5 times the height of the box above it (Tukey 1977)."""
    low, high = np.quantile(values, (0.25, 0.75))
    return float(min(max(values), high + 1.5 * (high - low)))


def _draw_pair(axes: "Axes", points: Sequence[Point], top: float) -> None:
    places = range(len(points))
    grey = {"color": "#999999"}
    axes.boxplot(
        [point.random_mape for point in points], positions=list(places), widths=0.55, showfliers=False,
        medianprops={"color": "#444444", "lw": 1.6}, boxprops=grey, whiskerprops=grey, capprops=grey,
    )  # fmt: skip
    for place, point in zip(places, points, strict=True):
        draws = np.array(point.random_mape)
        x = place + np.linspace(-0.2, 0.2, len(draws))
        label = f"random: {len(draws)} draws, their quartiles and median" if place == 0 else ""
        axes.scatter(x, draws, s=7, c="#0072B2", alpha=0.6, lw=0, label=label, zorder=3)
        # Draws beyond the plot are said, not drawn to scale.
        beyond = "\n".join(f"{each:.0f} %" for each in sorted(draws[draws > top], reverse=True))
        axes.text(place, 0.98 * top, beyond, ha="center", va="top", fontsize=7, color="#0072B2")
    planned = [point.planned_mape for point in points]
    axes.plot(places, planned, "D-", color="#D55E00", ms=5, lw=1.2, label="planned", zorder=4)
    axes.set_xticks(list(places), [str(point.rows) for point in points])
    axes.grid(axis="y", color="#EEEEEE")
    axes.set_axisbelow(True)


def blocks_of(path: Path) -> Dataset:
    """A table's blocks. Raises MissingError where it is absent."""
    if not path.is_file():
        raise MissingError(f"{path}: the public measurements are absent, so there is nothing to plan on")
    # nn-Meter's blocks have them; calibrating finds that out.
    return dataset_of(blocks_csv.read(path), "block", projected_shortcuts=True)


def _counts(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise UserError(f"--rows: numbers above 0 with commas between them, not '{text}'")
    return tuple(sorted({int(word) for word in words}))


def _table(points: Sequence[Point]) -> str:
    header = ("prior", "device", "rows", "planned MAPE %", "random MAPE %, median", "best to worst", "draws beaten")
    body = [
        (
            point.prior,
            point.device,
            str(point.rows),
            f"{point.planned_mape:.2f}",
            f"{point.random_median:.2f}",
            f"{min(point.random_mape):.2f} to {max(point.random_mape):.2f}",
            f"{sum(each > point.planned_mape for each in point.random_mape)} of {len(point.random_mape)}",
        )
        for point in points
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ("---",) * len(header), *body))


if __name__ == "__main__":
    main()
