"""Where tables are printed."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def wide_console(width: int) -> "Console":
    """Standard output, at least so wide: in a pipe or a narrow terminal, long lines rather than cut-off numbers."""
    # rich takes a tenth of a second to import, which a JSON document need not pay.
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    console.width = max(console.width, width)
    return console
