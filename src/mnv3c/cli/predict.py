"""`mnv3c predict`: a network's latency by a profile, layer by layer."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnv3c.cli.model import ModelArgument, ModelOptions, load_model, with_model_options
from mnv3c.cli.profile_options import AsJson, ProfileOption
from mnv3c.cli.wide_console import wide_console

if TYPE_CHECKING:
    from mnv3c.profiles.predict import LayerPrediction, NetworkPrediction
    from mnv3c.profiles.profile import Profile

_TABLE_WIDTH = 150
_MOST_TERMS = 4


@with_model_options
def predict(
    model: ModelArgument = "large",
    *,
    options: ModelOptions,
    device: ProfileOption,
    explain: Annotated[bool, typer.Option("--explain", help="Show what every layer's time is made of.")] = False,
    as_json: AsJson = False,
) -> None:
    """Predict a network's latency on a device: every layer, its 90 % interval, and what bounds it.

    Example: mnv3c predict large --device pixel4-cpu-tflite
    """
    from mnv3c.cli.planned import network_prediction
    from mnv3c.profiles.library import find_profile

    profile = find_profile(device)
    prediction = network_prediction(profile, load_model(model, options))
    if as_json:
        typer.echo(json.dumps(_document(profile, prediction, explain), indent=1))
    else:
        _print(profile, prediction, explain)


def _document(profile: "Profile", prediction: "NetworkPrediction", explain: bool) -> dict[str, Any]:
    return {
        "profile": profile.name,
        "total_ms": prediction.total_ms,
        "low_ms": prediction.low_ms,
        "high_ms": prediction.high_ms,
        "overhead_ms": prediction.overhead_ms,
        "in_range": all(not layer.outside for layer in prediction.layers),
        "layers": [_layer_document(layer, explain) for layer in prediction.layers],
    }


def _layer_document(layer: "LayerPrediction", explain: bool) -> dict[str, Any]:
    return {
        "name": layer.name,
        "unit": layer.unit,
        "latency_ms": layer.latency_ms,
        "low_ms": layer.low_ms,
        "high_ms": layer.high_ms,
        "bound": layer.bound,
        "in_range": not layer.outside,
        "outside": list(layer.outside),
        "macs": layer.macs,
        **({"terms_ms": {name: ms for name, ms in layer.terms_ms if ms > 0}} if explain else {}),
    }


def _print(profile: "Profile", prediction: "NetworkPrediction", explain: bool) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("layer", no_wrap=True)
    for header in ("predicted us", "90 % interval", "share %", "GMACs/s"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("bound", no_wrap=True)
    table.add_column("terms, us" if explain else "out of range")
    unit = -1
    for layer in prediction.layers:
        table.add_row(*_row(layer, prediction.total_ms, explain, layer.unit == unit))
        unit = layer.unit
    wide_console(_TABLE_WIDTH).print(table)
    outside = sum(bool(layer.outside) for layer in prediction.layers)
    identity = profile.identity
    typer.echo(
        f"predicted by {profile.name} ({identity.device} {identity.processor}, {identity.runtime}, "
        f"{identity.precision}, threads {identity.threads}): {prediction.total_ms:.3f} ms, "
        f"90 % interval {prediction.low_ms:.3f} to {prediction.high_ms:.3f}"
        + (f", of which {prediction.overhead_ms:.3f} ms beside the layers" if prediction.overhead_ms else "")
    )
    if outside:
        typer.echo(
            f"{outside} of {len(prediction.layers)} layers lie outside what the profile has seen; "
            "their intervals are wide, and no row vouches for them"
        )


def _row(layer: "LayerPrediction", total_ms: float, explain: bool, same_unit: bool) -> tuple[str, ...]:
    """A layer's line; + before its name says that it and the layer above are one block or one kernel."""
    terms = sorted(layer.terms_ms, key=lambda term: -term[1])[:_MOST_TERMS]
    largest = ", ".join(f"{name} {1e3 * ms:.1f}" for name, ms in terms if ms > 0.02 * layer.latency_ms)
    return (
        f"+ {layer.name}" if same_unit else layer.name,
        f"{1e3 * layer.latency_ms:.1f}",
        f"{1e3 * layer.low_ms:.1f} to {1e3 * layer.high_ms:.1f}",
        f"{100 * layer.latency_ms / total_ms:.1f}",
        f"{layer.macs / layer.latency_ms / 1e6:.1f}" if layer.macs and layer.latency_ms else "",
        layer.bound,
        largest if explain else "; ".join(layer.outside),
    )
