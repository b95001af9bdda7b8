"""Read a YAML file into a strict pydantic model, every fault located: file, line, field, expected, found."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, SequenceNode

from nsim.errors import NsimError

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "too_short": "at least {min_length} item",
    "greater_than_equal": "at least {ge:g}",
    "literal_error": "{expected}",
}
"""pydantic's error types in an author's words."""

_M = TypeVar("_M", bound=BaseModel)


def load_yaml(
    model: type[_M], path: Path, error_type: type[NsimError], context: dict[str, Any] | None = None
) -> _M:
    """Load ``path`` as a ``model`` (``context`` is what its validators see); ``error_type`` for any fault."""
    text = read_text(path, error_type)
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1
        problem = str(error.problem).splitlines()[0]
        raise error_type(f"{path}, line {line}: expected YAML, found a fault: {problem}") from None
    except (YAMLError, ValueError, KeyError) as error:  # ruamel lets the latter two out of !!tags and dates
        problem = str(error).splitlines()[0]
        raise error_type(f"{path}: expected YAML, found a fault: {problem}") from None
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        raise error_type(_explain(error, path, text)) from None


def read_text(path: Path, error_type: type[NsimError]) -> str:
    """Read UTF-8 text; ``error_type`` where it cannot be."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise error_type(f"{path}: expected UTF-8 text, found other bytes") from None
    except OSError as error:
        raise error_type(f"{path}: cannot be read ({error.strerror})") from None


def _explain(error: ValidationError, path: Path, text: str) -> str:
    """Say the first fault in one line: file, line, field, what was expected, what was found."""
    at, said = first_fault(error)
    field = ".".join(str(key) for key in at) or "the whole file"
    others = error.error_count() - 1
    more = f" (and {others} more)" if others else ""
    return f"{path}, line {_line(text, at)}, {field}: {said}{more}"


def first_fault(refusal: ValidationError) -> tuple[tuple[str | int, ...], str]:
    """Where the first fault is, and what was expected and found there."""
    error = refusal.errors(include_url=False)[0]
    at, context = error["loc"], error.get("ctx", {})
    if error["type"] == "fault":
        return (*at, *context["at"]), error["msg"]
    if error["type"] == "missing":
        return at[:-1], f"expected the field {at[-1]!r}, found none"
    expected = _EXPECTED.get(error["type"], error["msg"]).format_map(context)
    return at, f"expected {expected}, found {_show(error['input'])}"


def _show(found: Any) -> str:
    if found is None:
        return "nothing"
    if isinstance(found, dict | list):
        return "a mapping" if isinstance(found, dict) else "a list"
    return reprlib.repr(found)


def _line(text: str, at: tuple[str | int, ...]) -> int:
    """Return the line (from 1) of the field at this place, or of the innermost one around it that exists."""
    node = YAML(typ="safe", pure=True).compose(text)
    line = node.start_mark.line if node else 0
    for key in at:
        if isinstance(node, MappingNode):
            pairs = {name.value: (name.start_mark.line, value) for name, value in node.value}
        elif isinstance(node, SequenceNode):
            pairs = {str(i): (value.start_mark.line, value) for i, value in enumerate(node.value)}
        else:
            break
        if str(key) not in pairs:
            break
        line, node = pairs[str(key)]
    return line + 1
