"""Read chip files: the bundled ones by name, a user's own by path."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, SequenceNode

from nsim.errors import ChipFileError, MappingError
from nsim.hw_models.spec import CHIP_MODELS, AnyChip, ChipSpec, CostRule

_FOLDER = Path(__file__).parent / "chips"
_COST_RULES = ("ann45", "eyeriss", "h100")
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "too_short": "at least {min_length} item",
    "greater_than_equal": "at least {ge:g}",
    "literal_error": "{expected}",
}
"""pydantic's error types in a chip author's words."""

_M = TypeVar("_M", bound=BaseModel)


def chip_names() -> list[str]:
    """Return the names of the bundled chips."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml") if path.stem not in _COST_RULES)


def cost_rule_names() -> list[str]:
    """Return the names of the bundled cost rules: the ANN side."""
    return list(_COST_RULES)


def load_any_chip(name_or_path: str) -> AnyChip:
    """Load a bundled chip by name, or a chip file by its path, of whatever family.

    Sources are looked up in the bundled references.bib and in a references.bib beside the file, if any. A
    file with an ``architecture`` is read as one of SANA-FE's.

    Raises
    ------
    ChipFileError
        No such chip or file, or a file that breaks the schema: file, line, field, expected, found.
    """
    path = find_chip_file(name_or_path)
    family = re.search(r"^family:\s*(\w+)", _read(path), re.MULTILINE)
    return _load(CHIP_MODELS.get(family[1] if family else "", ChipSpec), path)


def load_chip(name_or_path: str) -> ChipSpec:
    """Load a chip that networks can be laid out on; errors as for `load_any_chip`.

    MappingError for a chip whose cores the mapper does not know yet.
    """
    chip = load_any_chip(name_or_path)
    if not isinstance(chip, ChipSpec):
        raise MappingError(
            f"{chip.name}: networks cannot be laid out on {chip.family} cores yet, only on synapse_lists; "
            f"`nsim chips` lists the families"
        )
    return chip


def find_chip_file(name_or_path: str) -> Path:
    """Return the file of a bundled chip, or the path of a user's own; ChipFileError for an unknown name."""
    return _find("chip", name_or_path, chip_names())


def load_cost_rule(name_or_path: str) -> CostRule:
    """Load a cost rule: pJ per MAC and per accumulate, no chip. Errors as for ``load_chip``."""
    return _load(CostRule, _find("cost rule", name_or_path, _COST_RULES))


def _find(kind: str, name_or_path: str, names: Sequence[str]) -> Path:
    path = Path(name_or_path)
    if name_or_path in names:
        return _FOLDER / f"{name_or_path}.yaml"
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return path
    raise ChipFileError(
        f"no {kind} {name_or_path!r}. Bundled: {', '.join(names)}. A path to your own .yaml file works too."
    )


def _load(model: type[_M], path: Path) -> _M:
    text = _read(path)
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1
        problem = str(error.problem).splitlines()[0]
        raise ChipFileError(f"{path}, line {line}: expected YAML, found a fault: {problem}") from None
    except (YAMLError, ValueError, KeyError) as error:  # ruamel lets the latter two out of !!tags and dates
        problem = str(error).splitlines()[0]
        raise ChipFileError(f"{path}: expected YAML, found a fault: {problem}") from None
    try:
        return model.model_validate(data, context={"sources": _source_keys(path)})
    except ValidationError as error:
        raise ChipFileError(_explain(error, path, text)) from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ChipFileError(f"{path}: expected UTF-8 text, found other bytes") from None
    except OSError as error:
        raise ChipFileError(f"{path}: cannot be read ({error.strerror})") from None


def _source_keys(path: Path) -> set[str]:
    files = {_FOLDER / "references.bib", path.parent / "references.bib"}
    texts = [_read(file) for file in files if file.exists()]
    return {key for text in texts for key in re.findall(r"^@\w+\{\s*([^,\s]+)\s*,", text, re.MULTILINE)}


def _explain(error: ValidationError, path: Path, text: str) -> str:
    """Say the first fault in one line: file, line, field, what was expected, what was found."""
    first, *others = error.errors(include_url=False)
    at, said = _place_and_fault(first)
    field = ".".join(str(key) for key in at) or "the whole file"
    more = f" (and {len(others)} more)" if others else ""
    return f"{path}, line {_line(text, at)}, {field}: {said}{more}"


def _place_and_fault(error: ErrorDetails) -> tuple[tuple[str | int, ...], str]:
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
