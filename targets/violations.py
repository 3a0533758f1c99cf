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
    location = first["loc"]
    if first["type"].startswith("union_tag_"):
        location = (*location, first["ctx"]["discriminator"].strip("'"))
    return f"{_key(location, document)}{_problem(first, model)}{more}"


def _key(location: Sequence[int | str], document: Mapping[str, object]) -> str:
    """Join a location as far as the document has such keys: a position within a pair or a union's tag is no key."""
    parts: list[str] = []
    here: object = document
    for position, part in enumerate(location):
        if isinstance(here, Mapping) and set(here) == {"value", "source"}:
            break
        if isinstance(part, int) and not isinstance(here, list):
            break
        if position < len(location) - 1 and isinstance(here, Mapping) and part not in here and part in _values(here):
            continue
        parts.append(str(part))
        here = here.get(part) if isinstance(here, Mapping) else None
    return ".".join(parts) + ": " if parts else ""


def _values(mapping: Mapping[str, object]) -> list[object]:
    return [each["value"] if isinstance(each, Mapping) and "value" in each else each for each in mapping.values()]


def _problem(detail: ErrorDetails, model: type[BaseModel]) -> str:
    kind = detail["type"]
    if kind in ("missing", "union_tag_not_found"):
        return "is missing"
    if kind == "union_tag_invalid":
        return f"should be one of {detail['ctx']['expected_tags']}, not '{detail['ctx']['tag']}'"
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
    options: list[type[BaseModel]] = []
    for part in location:
        tagged = [option for option in options if _has_tag(option, part)]
        if tagged:
            model = tagged[0]
        if part not in model.model_fields:  # a position within a list, a union's tag, or a name in a mapping
            continue
        annotation = model.model_fields[str(part)].annotation
        found = [annotation, *getattr(annotation, "__args__", ())]
        options = [option for option in found if isinstance(option, type) and issubclass(option, BaseModel)]
        model = options[0]
    return [name for name in model.model_fields if name != "sources"]


def _has_tag(model: type[BaseModel], tag: int | str) -> bool:
    """Whether one of the model's fields can only be `tag`, by which a union tells its arms apart."""
    return any(getattr(field.annotation, "__args__", ()) == (tag,) for field in model.model_fields.values())
