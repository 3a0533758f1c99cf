"""The paper's design decisions, judged again by a profile: python benchmarks/paper_decisions.py --help.

"Searching for MobileNetV3", arXiv 1905.02244v5, states for Pixel 1: the efficient last stage saves 7 ms (section 5.1),
16 filters with h-swish in the place of 32 with ReLU save 2 ms (5.1), and the whole of Large takes 51 ms (table 3).
The profiles are of other versions of the runtime, which are faster or slower as a whole: one number, fitted to Large
alone, brings each to the paper's scale. How far that holds is told by the other networks that were published, none of
which it was fitted to; then every decision is given as predicted and at that scale.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from command_line import run_command_line
from mobilenets import mobilenet_v2

from mnv3c.graph.ir import Graph
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.whole_file import write_whole
from mnv3c.profiles.library import find_profile
from mnv3c.search.latency import ProfileLatency


@dataclass(frozen=True)
class Decision:
    """A decision of the paper: the network without it, and what it is said to change on Pixel 1, in milliseconds.

    `network` is what it was decided for, `without` what differs from it; the published change is None where the paper
    gives no number for this pair.
    """

    name: str
    network: dict[str, Any]
    without: dict[str, Any]
    published_ms: float | None
    source: str = ""


@dataclass(frozen=True)
class Published:
    """A network and what it is said to take on Pixel 1, floats on one large core, in milliseconds."""

    name: str
    make: Callable[[], Graph]
    latency_ms: float
    source: str


# What the paper's Large takes on Pixel 1.
PAPER_LARGE_MS = 51.0
TABLE_3, RELEASED = "table 3", "released models"
# RELEASED: the table of tensorflow/models, research/slim/nets/mobilenet/README.md.
NETWORKS = (
    Published("V3-Large", lambda: mobilenet_v3("large", seed=None), PAPER_LARGE_MS, TABLE_3),
    Published("V3-Large 0.75", lambda: mobilenet_v3("large", width=0.75, seed=None), 39.0, TABLE_3),
    Published("V3-Large minimalistic", lambda: mobilenet_v3("large", minimalistic=True, seed=None), 44.1, RELEASED),
    Published("V3-Small", lambda: mobilenet_v3("small", seed=None), 15.8, TABLE_3),
    Published("V3-Small 0.75", lambda: mobilenet_v3("small", width=0.75, seed=None), 12.8, TABLE_3),
    Published("V3-Small minimalistic", lambda: mobilenet_v3("small", minimalistic=True, seed=None), 12.2, RELEASED),
    Published("V2", lambda: mobilenet_v2(seed=None), 64.0, TABLE_3),
    Published("V2 0.35", lambda: mobilenet_v2(seed=None, width=0.35), 16.6, TABLE_3),
)

LARGE: dict[str, Any] = {"variant": "large"}
SMALL: dict[str, Any] = {"variant": "small"}
MINIMALISTIC: dict[str, Any] = {"minimalistic": True}
DECISIONS = (
    Decision("efficient last stage", LARGE, {"last_stage": "original"}, -7.0, "5.1: 7 ms, 11 % of the running time"),
    Decision("16 filters with h-swish for 32 with ReLU", LARGE, {"stem_filters": 32}, -2.0, "5.1: 2 ms and 10 M MACs"),
    Decision("h-swish only from 80 channels on, for everywhere", LARGE, {"hswish": "all"}, None),
    Decision("h-swish as in the table, for nowhere", LARGE, {"hswish": "none"}, None),
    Decision("squeeze-excite", LARGE, {"se": False}, None),
    Decision("squeeze-excite", SMALL, {"se": False}, None),
    Decision("minimalistic", LARGE | MINIMALISTIC, {"minimalistic": False}, -7.1, "released models: 51.2 and 44.1 ms"),
    Decision("minimalistic", SMALL | MINIMALISTIC, {"minimalistic": False}, -3.6, "released models: 15.8 and 12.2 ms"),
)


@dataclass(frozen=True)
class Judgement:
    """What a profile says of a decision, in milliseconds without and with it; `scale` brings Large to the paper's."""

    decision: Decision
    without_ms: float
    with_ms: float
    scale: float

    @property
    def change_ms(self) -> float:
        """Below 0 where it makes the network faster."""
        return self.with_ms - self.without_ms

    @property
    def document(self) -> dict[str, Any]:
        """For JSON; a ratio is the predicted change over the published one, above 0 where the sign is right."""
        published_ms = self.decision.published_ms
        scaled_ms = self.scale * self.change_ms
        return {
            "network": self.decision.network["variant"],
            "decision": self.decision.name,
            "without_ms": self.without_ms,
            "with_ms": self.with_ms,
            "change_ms": self.change_ms,
            "scaled_ms": scaled_ms,
            "published_ms": published_ms,
            "ratio": None if published_ms is None else self.change_ms / published_ms,
            "scaled_ratio": None if published_ms is None else scaled_ms / published_ms,
        }


def judged(latency: ProfileLatency, decision: Decision, scale: float) -> Judgement:
    """Predict the network with and without a decision."""
    with_ms = latency(mobilenet_v3(**decision.network, seed=None))
    without_ms = latency(mobilenet_v3(**(decision.network | decision.without), seed=None))
    return Judgement(decision, without_ms, with_ms, scale)


def figures(profile: str) -> dict[str, Any]:
    """All that a profile says: `scale`, fitted to Large alone; `networks`, of which it saw one; `decisions`."""
    latency = ProfileLatency(find_profile(profile))
    predicted_ms = [latency(network.make()) for network in NETWORKS]
    scale = PAPER_LARGE_MS / predicted_ms[0]
    networks = [
        {
            "network": network.name,
            "predicted_ms": ms,
            "scaled_ms": scale * ms,
            "published_ms": network.latency_ms,
            "source": network.source,
            "error": 100 * (ms / network.latency_ms - 1),
            "scaled_error": 100 * (scale * ms / network.latency_ms - 1),
        }
        for network, ms in zip(NETWORKS, predicted_ms, strict=True)
    ]
    decisions = [judged(latency, decision, scale).document for decision in DECISIONS]
    return {"scale": scale, "networks": networks, "decisions": decisions}


def main() -> None:
    """Run the command; exit 2 for wrong input and 3 for what is missing, with one line on stderr."""
    run_command_line("paper_decisions", paper_decisions)


def paper_decisions(
    device: Annotated[list[str] | None, typer.Option(metavar="PROFILE", help="Repeat for more.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here too.")
    ] = None,
) -> None:
    """Print how well the published networks are predicted, and what each decision changes, beside the paper's figures.

    Example: python benchmarks/paper_decisions.py --device pixel1-cpu-tflite
    """
    found = {name: figures(name) for name in device or ["pixel1-cpu-tflite"]}
    heads = [f"{name}: predicted, times {each['scale']:.3f}, error of both" for name, each in found.items()]
    typer.echo(_row("network", *heads, "published ms"))
    typer.echo(_row(*["---"] * (2 + len(found))))
    for number, network in enumerate(NETWORKS):
        typer.echo(
            _row(
                network.name,
                *(_network_cell(each["networks"][number], fitted=number == 0) for each in found.values()),
                f"{network.latency_ms:g} ({network.source})",
            )
        )
    typer.echo("")
    heads = [f"{name}: without, with, change (at 51 ms) ms" for name in found]
    typer.echo(_row("network", "decision", *heads, "published ms"))
    typer.echo(_row(*["---"] * (3 + len(found))))
    for number, decision in enumerate(DECISIONS):
        cells = [_decision_cell(each["decisions"][number]) for each in found.values()]
        published = "" if decision.published_ms is None else f"{decision.published_ms:+.1f} ({decision.source})"
        typer.echo(_row(decision.network["variant"], decision.name, *cells, published))
    if json_file is not None:
        write_whole(json_file, json.dumps(found, indent=1) + "\n")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _network_cell(row: dict[str, Any], fitted: bool) -> str:
    errors = f"{row['error']:+.1f} %, " + ("fitted" if fitted else f"{row['scaled_error']:+.1f} %")
    return f"{row['predicted_ms']:.2f}, {row['scaled_ms']:.2f}, {errors}"


def _decision_cell(row: dict[str, Any]) -> str:
    return f"{row['without_ms']:.2f}, {row['with_ms']:.2f}, **{row['change_ms']:+.2f}** ({row['scaled_ms']:+.2f})"


if __name__ == "__main__":
    main()
