"""A picture of a sweep: latency against energy, area as colour, and the front that nobody beats."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnv3c.profiles.scatter import save_figure
from mnv3c.targets.edgetpu.sweep import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_MOST_LABELS = 12


def write_sweep_plot(path: Path, points: Sequence[Point], front: Sequence[Point], title: str) -> None:
    """Draw to a PNG or SVG file; the same points give the same bytes. Raises MissingError where the disk refuses."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "mnv3c", "svg.fonttype": "path", "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(8.4, 5.6), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _draw(axes, points, front)
        axes.set_title(title, size=11, weight="bold", loc="left", parse_math=False)
        save_figure(figure, path)


def _draw(axes: "Axes", points: Sequence[Point], front: Sequence[Point]) -> None:
    running = [point for point in points if not point.problem]
    networks = list(dict.fromkeys(point.network for point in running))
    areas = [point.area_mm2 for point in running]
    drawn = None
    for network, marker in zip(networks, _MARKERS * len(networks), strict=False):
        shown = [point for point in running if point.network == network]
        drawn = axes.scatter(
            [point.total_ms for point in shown],
            [point.energy_uj for point in shown],
            c=[point.area_mm2 for point in shown],
            cmap="viridis_r", vmin=min(areas), vmax=max(areas), marker=marker, s=26, alpha=0.75, label=network,
        )  # fmt: skip
        # In the plane of latency and energy the front of three costs is a set of points; this line joins its edge.
        edge = _edge([point for point in front if point.network == network])
        axes.step([x for x, _ in edge], [y for _, y in edge], where="post", color="#D55E00", linewidth=1.0, zorder=0)
    _label(axes, front)
    _logarithmic(axes)
    axes.set_xlabel("emulated latency, ms")
    axes.set_ylabel("energy, uJ")
    axes.grid(which="both", alpha=0.25)
    if len(networks) > 1:
        axes.legend(frameon=False)
    assert drawn is not None
    axes.figure.colorbar(drawn, ax=axes, label="area proxy, mm²")


def _logarithmic(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    # Room for the labels, which lean out to the upper right.
    axes.margins(0.09)
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(plain)
        axis.set_minor_formatter(plain)
        axis.set_tick_params(which="both", labelsize=7.5)


def _edge(front: Sequence[Point]) -> list[tuple[float, float]]:
    edge: list[tuple[float, float]] = []
    for point in sorted(front, key=lambda point: (point.total_ms, point.energy_uj)):
        if not edge or point.energy_uj < edge[-1][1]:
            edge.append((point.total_ms, point.energy_uj))
    return edge


def _label(axes: "Axes", front: Sequence[Point]) -> None:
    labelled = sorted(front, key=lambda point: point.total_ms * point.energy_uj)[:_MOST_LABELS]
    for point in labelled:
        axes.annotate(
            " ".join(value for _, value in point.settings),
            (point.total_ms, point.energy_uj),
            textcoords="offset points", xytext=(2, 4), rotation=38, rotation_mode="anchor", size=6.5,
            color="#444444", parse_math=False,
        )  # fmt: skip
