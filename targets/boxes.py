"""Box-drawing characters: frames, frames side by side, and the lines between them. All drawings are 72 columns wide."""

from collections.abc import Sequence

# The inside of the outermost box, in characters.
WIDTH = 68
_PER_ROW = 4


def box(title: str, content: Sequence[str], width: int) -> list[str]:
    """Frame lines in a box `width` characters wide inside; lines that are too long are cut with an ellipsis."""
    head = f"─ {_fit(title, width - 4)} " if title else ""
    body = [f"│ {_fit(line, width - 2):<{width - 2}} │" for line in content]
    return [f"┌{head:─<{width}}┐", *body, f"└{'─' * width}┘"]


def side_by_side(count: int, label: str) -> list[str]:
    """The same small box so many times, four in a row."""
    rows: list[str] = []
    for start in range(0, count, _PER_ROW):
        boxes = [box("", [label], len(label) + 2) for _ in range(min(_PER_ROW, count - start))]
        rows.extend(" ".join(parts) for parts in zip(*boxes, strict=True))
    return rows


def link(left: str = "", right: str = "") -> str:
    """Two lines that go down from one box to the next, each with a label."""
    return f"      │ {left:<20}│ {right}"


def chained(parts: Sequence[str]) -> list[str]:
    """Boxes of full width, each linked to what is above it."""
    return [line for part in parts for line in (link(), *box("", [part], WIDTH))]


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
