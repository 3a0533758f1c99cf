"""Names from files of others, in messages of ours."""

_SHOWN_CHARACTERS = 80


def shown(name: str) -> str:
    """A name from the file, quoted and fit for a one-line message."""
    text = name if len(name) <= _SHOWN_CHARACTERS else name[: _SHOWN_CHARACTERS - 3] + "..."
    return "'" + text.encode("unicode_escape").decode("ascii") + "'"
