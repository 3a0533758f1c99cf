"""What pydantic found wrong, said in one line: the dotted key, what is allowed there, and what was found."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails


class KeyedError(Exception):
    """A document breaks a rule at one dotted key; not a ValueError, so that pydantic lets it through."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)


def first_violation(error: ValidationError, model: type[BaseModel], document: Mapping[str, object]) -> str:
    """Describe the most telling violation; an unknown key comes first, because it is often a misspelt missing one."""
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    first, others = details[0], len(details) - 1
    more = f" (and {others} more)" if others else ""
    return f"{_key(first['loc'], document)}{_problem(first, model)}{more}"


def _key(location: Sequence[int | str], document: Mapping[str, object]) -> str:
    """Join a location as far as the document has such keys: a position within a pair or a union's arm is no key."""
    parts: list[str] = []
    here: object = document
    for part in location:
        if isinstance(here, Mapping) and set(here) == {"value", "source"}:
            break
        if isinstance(part, int) and not isinstance(here, list):
            break
        parts.append(str(part))
        here = here.get(part) if isinstance(here, Mapping) else None
    return ".".join(parts) + ": " if parts else ""


def _problem(detail: ErrorDetails, model: type[BaseModel]) -> str:
    kind = detail["type"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return f"unknown key; allowed: {', '.join(_allowed_keys(model, detail['loc'][:-1]))}"
    if kind == "value_error":
        return f"{detail['ctx']['error']!s}{_found(detail['input'])}"
    message = detail["msg"].removeprefix("Input ")
    return f"{message.replace('String ', '').replace('Value ', '')}{_found(detail['input'])}"


def _found(value: object) -> str:
    if isinstance(value, Mapping | list | tuple | BaseModel):
        return ""
    text = "null" if value is None else str(value)
    return f", not {text[:60]!r}"


def _allowed_keys(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    for part in location:
        if part not in model.model_fields:  # a position within a list, or a name in a mapping
            continue
        annotation = model.model_fields[str(part)].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return [name for name in model.model_fields if name != "sources"]
