"""A picture of a search: accuracy against latency of all that was tried, and the path or the Pareto front."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnv3c.profiles.scatter import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINE, _TRIED, _TARGET = "#0072B2", "#999999", "#D55E00"
_MOST_NUMBERS = 25


@dataclass(frozen=True)
class PlotPoints:
    """(latency in ms, accuracy) of all networks that were tried, and of those on the path or the front."""

    tried: Sequence[tuple[float, float]]
    line: Sequence[tuple[float, float]]
    target_ms: float
    is_path: bool


def write_search_plot(path: Path, points: PlotPoints, title: str) -> None:
    """Draw to a PNG or SVG file; the same points give the same bytes. Raises MissingError where the disk refuses."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "mnv3c", "svg.fonttype": "path", "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(8.0, 5.2), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _draw(axes, points)
        axes.set_title(title, size=11, weight="bold", loc="left", parse_math=False)
        save_figure(figure, path)


def _draw(axes: "Axes", points: PlotPoints) -> None:
    tried_ms, tried = [x for x, _ in points.tried], [100 * y for _, y in points.tried]
    line_ms, line = [x for x, _ in points.line], [100 * y for _, y in points.line]
    axes.scatter(
        tried_ms, tried, s=10, color=_TRIED, alpha=0.5, linewidths=0, label="proposals" if points.is_path else "judged"
    )
    if points.is_path:
        axes.plot(line_ms, line, color=_LINE, marker="o", markersize=4, linewidth=1.3, label="path")
        every = max(1, len(points.line) // _MOST_NUMBERS)
        for number in range(0, len(points.line), every):
            axes.annotate(
                str(number), (line_ms[number], line[number]), textcoords="offset points", xytext=(3, 4), size=6.5
            )
        # A search goes from slow to fast.
        axes.invert_xaxis()
    else:
        axes.step(line_ms, line, where="post", color=_LINE, marker="o", markersize=4, linewidth=1.3, label="front")
    axes.axvline(points.target_ms, color=_TARGET, linestyle="--", linewidth=1.0, label="target")
    axes.set_xlabel("latency, ms")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="best")
