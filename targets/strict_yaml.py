"""A YAML reader for files that people write by hand: what PyYAML would quietly accept or crash on becomes one line.

Beyond `yaml.safe_load`: duplicate keys, keys that are not text, aliases, several documents, more than `MAX_DEPTH`
levels and more than `MAX_BYTES` bytes are refused.
"""

from pathlib import Path

import yaml

from mnv3c.graph.errors import UserError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 12


class _StrictLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys; here the second is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
            if key_node.value in seen:
                problem = f"the key '{key_node.value}' appears twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key_node.value)
        return dict(super().construct_mapping(node, deep=deep))


def read_mapping(path: Path) -> dict[str, object]:
    """Return the file's only document, which must be a mapping with text keys.

    Raises UserError, in one line that names the file and where possible the line within it, if the file cannot be read,
    is not UTF-8, is not well-formed, or is refused by the rules of this module.
    """
    text = _read_text(path)
    try:
        _check_events(path, text)
        # _StrictLoader is a SafeLoader: it builds plain Python values only.
        document = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {_one_line(error)}") from None
    except ValueError as error:
        raise UserError(f"{path}: a value cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(document, dict):
        raise UserError(f"{path}: must be a mapping of keys to values, not {_kind(document)}")
    return document


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UserError(f"{path}: is larger than the {MAX_BYTES // 1024} KiB allowed")
        return content.decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _check_events(path: Path, text: str) -> None:
    """Walk the parser's events, which need no recursion, before PyYAML's recursive composer sees the document."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise UserError(f"{path}: line {line}: aliases are not allowed; repeat the value")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise UserError(f"{path}: line {line}: is nested deeper than the {MAX_DEPTH} levels allowed")


def _one_line(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError):
        return "is not valid YAML: " + " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}: " if mark else ""
    problem = error.problem or error.context or "is not valid YAML"
    return where + " ".join(problem.split())


def _kind(document: object) -> str:
    if document is None:
        return "an empty document"
    return "a list" if isinstance(document, list) else f"the value {str(document)[:40]!r}"
