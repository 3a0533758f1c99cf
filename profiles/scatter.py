"""A picture of predictions: predicted against measured latency, and the errors beneath."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mnv3c.graph.errors import UserError
from mnv3c.graph.whole_file import check_place, whole_file
from mnv3c.profiles.metrics import Floats, Metrics, Predictions, metrics_by_group, worst_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg")
# Okabe and Ito's palette, which colour-blind readers can tell apart ("Color Universal Design", 2008); yellow left out.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_BAND = 0.10
# What fits into the width of the figure at the size of the list's font.
_LINE_CHARACTERS, _LIST_POINTS = 140, 6.6
_WIDTH_INCHES, _PLOT_INCHES, _LINE_INCHES, _DPI = 8.0, 9.4, 0.17, 150


@dataclass(frozen=True)
class ScatterRows:
    """What the picture shows: predictions of latencies in milliseconds, and each row's kind and name, (n,) each.

    Raises UserError where their numbers differ or there is no row.
    """

    predictions: Predictions
    kinds: Sequence[str]
    names: Sequence[str]

    def __post_init__(self) -> None:
        count = len(self.predictions.measured)
        if not count:
            raise UserError("scatter plot: no rows")
        if len(self.kinds) != count or len(self.names) != count:
            raise UserError(f"scatter plot: {len(self.kinds)} kinds and {len(self.names)} names for {count} rows")


def check_format(path: Path) -> None:
    """Raises UserError, naming the path, if its ending is none of `FORMATS`, or no file can be there."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path}: a plot is written as {' or '.join(FORMATS)}")
    check_place(path)


def write_scatter(path: Path, rows: ScatterRows, title: str, worst: int = 10) -> None:
    """Draw predicted against measured latency to a PNG or SVG file; the same rows give the same bytes.

    Both axes are logarithmic; a line marks equality and a band 10 % about it. Below, each row's relative error. The
    `worst` rows are numbered in the plot and named under it. Raises UserError for another file ending, MissingError
    where the disk refuses.
    """
    check_format(path)
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    named = worst_rows(rows.predictions, worst)
    with rc_context({"svg.hashsalt": "mnv3c", "svg.fonttype": "path", "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(_WIDTH_INCHES, _PLOT_INCHES + _LINE_INCHES * (len(named) + 1)), dpi=_DPI)
        FigureCanvasAgg(figure)
        _draw(figure, rows, named, title)
        save_figure(figure, path)


def _draw(figure: "Figure", rows: ScatterRows, named: Sequence[int], title: str) -> None:
    height = figure.get_figheight()
    text_inches = height - _PLOT_INCHES
    grid = figure.add_gridspec(
        2, 1, height_ratios=(2.2, 1), left=0.095, right=0.975, hspace=0.08,
        bottom=(text_inches + 0.75) / height, top=1 - 0.75 / height,
    )  # fmt: skip
    upper, lower = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    # A title of 68 characters just fits.
    size = min(13.0, 13.0 * 68 / max(len(title), 1))
    figure.text(0.095, 1 - 0.30 / height, title, size=size, weight="bold", va="center", parse_math=False)
    figure.text(0.095, 1 - 0.56 / height, str(Metrics.of(rows.predictions)), size=8, color="#444444", va="center")
    _draw_latencies(upper, rows)
    _draw_errors(lower, rows)
    chosen = rows.predictions.take(np.array(named, np.int64))
    above = chosen.predicted > chosen.measured
    _number(upper, chosen.measured, chosen.predicted, np.where(above, 135.0, -45.0))
    _number(lower, chosen.measured, 100 * chosen.errors, np.where(above, 90.0, -90.0))
    _list_worst(figure, rows, named, text_inches / height)


def _draw_latencies(axes: "Axes", rows: ScatterRows) -> None:
    measured, predicted = rows.predictions.measured, rows.predictions.predicted
    both = np.concatenate([measured, predicted])
    ends = np.array([both.min() / 1.25, both.max() * 1.25])
    axes.fill_between(ends, ends * (1 - _BAND), ends * (1 + _BAND), color="#DDDDDD", lw=0, label="within 10 %")
    axes.plot(ends, ends, color="#777777", lw=0.8)
    for index, (kind, metrics) in enumerate(metrics_by_group(rows.kinds, rows.predictions).items()):
        chosen = _is_kind(rows, kind)
        label = f"{kind}: {metrics.n} rows, MAPE {metrics.mape:.2f} %"
        _points(axes, measured[chosen], predicted[chosen], index, label)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, ylabel="predicted latency (ms)")
    _plain_ticks(axes, "xy")
    axes.tick_params(labelbottom=False)
    axes.legend(loc="upper left", fontsize=8, framealpha=0.95)


def _draw_errors(axes: "Axes", rows: ScatterRows) -> None:
    measured, errors = rows.predictions.measured, 100 * rows.predictions.errors
    both = np.concatenate([measured, rows.predictions.predicted])
    ends = (float(both.min() / 1.25), float(both.max() * 1.25))
    axes.axhspan(-100 * _BAND, 100 * _BAND, color="#DDDDDD", lw=0)
    axes.axhline(0, color="#777777", lw=0.8)
    for index, kind in enumerate(sorted(set(rows.kinds))):
        chosen = _is_kind(rows, kind)
        _points(axes, measured[chosen], errors[chosen], index, "")
    # Room for the numbers of the worst rows.
    low, high = min(-100 * _BAND, float(errors.min())), max(100 * _BAND, float(errors.max()))
    room = 0.16 * (high - low)
    axes.set(
        xscale="log", xlim=ends, ylim=(low - room, high + room), xlabel="measured latency (ms)", ylabel="error (%)"
    )
    _plain_ticks(axes, "x")


def _points(axes: "Axes", x: Floats, y: Floats, index: int, label: str) -> None:
    marker = _MARKERS[index // len(_COLOURS) % len(_MARKERS)]
    size = 16.0 if len(x) < 300 else 8.0
    axes.scatter(x, y, s=size, c=_COLOURS[index % len(_COLOURS)], marker=marker, alpha=0.7, lw=0, label=label, zorder=3)


def _is_kind(rows: ScatterRows, kind: str) -> npt.NDArray[np.bool_]:
    return np.array([each == kind for each in rows.kinds])


def _plain_ticks(axes: "Axes", which: str) -> None:
    """0.1, 1, 10 rather than powers; steps between them are labelled where the axis spans less than two decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for name in which:
        axis = axes.xaxis if name == "x" else axes.yaxis
        low, high = axes.get_xlim() if name == "x" else axes.get_ylim()
        steps = (1.0, 2.0, 5.0) if high / low < 1000 else (1.0,)
        axis.set_major_locator(LogLocator(subs=steps))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(which="major", color="#EEEEEE", lw=0.6)
    axes.set_axisbelow(True)


def _number(axes: "Axes", x: Floats, y: Floats, outwards: Floats) -> None:
    """Number points 1, 2, ... beside them, in the direction `outwards` (degrees) where there is room."""
    at = axes.transData.transform(np.stack([x, y], axis=1)) * 72 / _DPI
    taken = [(float(left), float(bottom)) for left, bottom in at]
    for row, point in enumerate(at):
        place = _free_place(point, float(outwards[row]), taken)
        taken.append(place)
        offset = (place[0] - float(point[0]), place[1] - float(point[1]))
        line = {"arrowstyle": "-", "lw": 0.5, "color": "#444444", "shrinkA": 0, "shrinkB": 1}
        axes.annotate(
            str(row + 1), (float(x[row]), float(y[row])), offset, textcoords="offset points", fontsize=8,
            ha="center", va="center", zorder=5, arrowprops=line,
        )  # fmt: skip


def _free_place(point: Floats, outwards: float, taken: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The nearest place of a fan that is 10 points off all taken ones; all in points."""
    for distance in range(11, 120, 5):
        for turn in (0.0, 25.0, -25.0, 50.0, -50.0):
            angle = np.deg2rad(outwards + turn)
            place = (float(point[0] + distance * np.cos(angle)), float(point[1] + distance * np.sin(angle)))
            if all(np.hypot(place[0] - other[0], place[1] - other[1]) >= 10 for other in taken):
                return place
    return float(point[0]), float(point[1])


def _list_worst(figure: "Figure", rows: ScatterRows, named: Sequence[int], top: float) -> None:
    height = figure.get_figheight()
    errors = 100 * rows.predictions.errors
    lines = [f"{'':>2}{'error':>9}{'measured':>10}{'predicted':>10}  row, worst first"] if named else []
    for number, row in enumerate(named, 1):
        measured, predicted = rows.predictions.measured[row], rows.predictions.predicted[row]
        figures = f"{number:>2}{errors[row]:>+7.1f} %{measured:>10.4g}{predicted:>10.4g}  "
        lines.append(figures + _shortened(rows.names[row], _LINE_CHARACTERS - len(figures)))
    for index, line in enumerate(lines):
        y = top - (index + 0.2) * _LINE_INCHES / height
        figure.text(0.03, y, line, fontsize=_LIST_POINTS, family="DejaVu Sans Mono", va="center", parse_math=False)


def _shortened(text: str, length: int) -> str:
    """The text, its middle left out where it is too long."""
    if len(text) <= length:
        return text
    return text[: length // 2] + "..." + text[len(text) - (length - length // 2 - 3) :]


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as the ending of `path` says, one of `FORMATS`. Raises MissingError where the disk refuses."""
    kind = path.suffix.lower().removeprefix(".")
    # No date and no version of the library: the same rows give the same file.
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with whole_file(path) as temporary:
        figure.savefig(temporary, format=kind, dpi="figure", metadata=metadata)
