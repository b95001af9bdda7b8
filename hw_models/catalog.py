"""Read chip files: the bundled ones by name, a user's own by path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from nsim.errors import ChipFileError, MappingError
from nsim.hw_models import sanafe
from nsim.hw_models.spec import CHIP_MODELS, AnyChip, ChipSpec, CostRule, MemoryRule
from nsim.yaml_file import load_yaml, read_text

_FOLDER = Path(__file__).parent / "chips"
_COST_RULES = ("ann45", "eyeriss", "h100")
_MEMORY_RULES = ("lemaire2022",)
_M = TypeVar("_M", bound=BaseModel)


def chip_names() -> list[str]:
    """Return the names of the bundled chips."""
    rules = {*_COST_RULES, *_MEMORY_RULES}
    return sorted(path.stem for path in _FOLDER.glob("*.yaml") if path.stem not in rules)


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
    text = read_text(path, ChipFileError)
    if re.search(r"^architecture:", text, re.MULTILINE):
        return sanafe.to_chip(_load(sanafe.ArchitectureFile, path), load_chip("loihi"), str(path))
    family = re.search(r"^family:\s*(\w+)", text, re.MULTILINE)
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


def load_memory_rule(name_or_path: str) -> MemoryRule:
    """Load a rule that prices operations and memory accesses. Errors as for ``load_chip``."""
    return _load(MemoryRule, _find("memory rule", name_or_path, _MEMORY_RULES))


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
    return load_yaml(model, path, ChipFileError, {"sources": _source_keys(path)})


def _source_keys(path: Path) -> set[str]:
    files = {_FOLDER / "references.bib", path.parent / "references.bib"}
    texts = [read_text(file, ChipFileError) for file in files if file.exists()]
    return {key for text in texts for key in re.findall(r"^@\w+\{\s*([^,\s]+)\s*,", text, re.MULTILINE)}
