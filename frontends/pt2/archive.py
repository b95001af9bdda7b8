"""A torch.export archive as plain values: a zip of JSON and raw bytes, of which nothing is unpickled or run.

Sizes that a program leaves open (dynamic shapes) are those of the example it was exported with.
"""

from __future__ import annotations

import json
import keyword
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nsim.errors import ModelFileError, UnsupportedOpError

GRAPH = "models/model.json"
GRAPH_BEFORE = "serialized_exported_program.json"
"""Endings of the archive member that holds the graph: as torch 2.13 writes it, and in old programs."""
CONFIGS = {"weights": "model_weights_config.json", "constants": "model_constants_config.json"}
DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f2", 7: "<f4", 8: "<f8", 12: "?"}
"""torch's numbers of its types; the others are no types of a denoiser's weights."""
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    MemoryError,
    RecursionError,
)
"""What Python raises at content that is not what it should be."""
FLOATS = frozenset({6, 7, 8, 13})
Shape = tuple[int, ...]
PATH = re.compile(r"[\w.-]*")
"""What a name or a module path may be: torch.fx writes them into Python text, so no more is let in."""


@dataclass(frozen=True)
class Name:
    """A value of the program, by its name."""

    text: str

    def __post_init__(self) -> None:
        if not self.text.isidentifier() or keyword.iskeyword(self.text):
            raise ValueError(f"a value called {self.text!r}")


@dataclass(frozen=True)
class Level:
    """A module in whose forward a node was recorded; ``call`` tells the calls of one module apart."""

    call: str
    path: str
    kind: str


@dataclass(frozen=True)
class Node:
    """One operation: ``target`` as ``aten.add.Tensor``, arguments by name, names of what it returns."""

    target: str
    args: dict[str, Any]
    outputs: tuple[str, ...]
    levels: tuple[Level, ...]

    @property
    def owner(self) -> Level:
        """The innermost module."""
        return self.levels[-1]

    @property
    def names(self) -> list[str]:
        """Values it reads."""
        flat = [x for a in self.args.values() for x in (a if isinstance(a, list) else [a])]
        return [x.text for x in flat if isinstance(x, Name)]


@dataclass(frozen=True, eq=False)
class Program:
    """Nodes in order of execution; ``tensors``: parameters, buffers and constants by value name, and
    ``paths`` where they were in the module; ``inputs`` in the order of the forward's arguments; ``shapes`` of
    all values; ``parameters``: how many numbers were trained.
    """

    nodes: tuple[Node, ...]
    tensors: dict[str, np.ndarray]
    paths: dict[str, str]
    inputs: tuple[str, ...]
    output: str
    shapes: dict[str, Shape]
    parameters: int


def is_program(path: Path) -> bool:
    """True for an archive with a torch.export graph in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith((GRAPH, GRAPH_BEFORE)) for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What goes wrong in reading a program, said of its file: ModelFileError, or UnsupportedOpError."""
    try:
        yield
    except UnsupportedOpError as error:
        raise UnsupportedOpError(f"{path}: {error}") from None
    except DAMAGE as error:
        raise ModelFileError(
            f"{path}: a torch.export program that is damaged, or written in a way nsim does not know "
            f"({type(error).__name__}: {error}); export it again with torch 2.13"
        ) from None


def read_program(path: Path) -> Program:
    """Read the archive; see `reading` for what it raises."""
    with reading(path), zipfile.ZipFile(path) as archive:
        graph = next((name for name in archive.namelist() if name.endswith(GRAPH)), None)
        if graph is None:
            raise UnsupportedOpError(
                "a torch.export program of an old torch, whose weights are pickled; "
                "export it again with torch 2.13"
            )
        content = json.loads(archive.read(graph))["graph_module"]
        root = graph.removesuffix(GRAPH)
        if archive.read(f"{root}byteorder") != b"little":
            raise UnsupportedOpError("its numbers are big-endian; export it on a little-endian machine")
        stored: dict[str, np.ndarray] = {}
        trained: dict[str, int] = {}
        for kind, config in CONFIGS.items():
            entries = json.loads(archive.read(f"{root}data/{kind}/{config}"))["config"]
            for name, entry in entries.items():
                stored[name] = _tensor(archive, f"{root}data/{kind}/", name, entry)
                if entry["is_param"]:  # one that two layers share is stored once
                    trained[entry["path_name"]] = stored[name].size
        return _program(content["graph"], content["signature"], stored, sum(trained.values()))


def _tensor(archive: zipfile.ZipFile, folder: str, name: str, entry: dict) -> np.ndarray:
    """One tensor, from raw bytes."""
    meta = entry["tensor_meta"]
    if entry["use_pickle"] or meta["dtype"] not in DTYPES:
        raise UnsupportedOpError(
            f"{name} is a tensor of torch type {meta['dtype']}{', pickled' if entry['use_pickle'] else ''}; "
            "nsim reads plain float and integer tensors"
        )
    dtype = np.dtype(DTYPES[meta["dtype"]])
    return np.ndarray(
        _shape(meta),
        dtype,
        archive.read(folder + entry["path_name"]),  # numpy checks that all of it lies inside
        meta["storage_offset"]["as_int"] * dtype.itemsize,
        tuple(s["as_int"] * dtype.itemsize for s in meta["strides"]),
    )


def _program(graph: dict, signature: dict, stored: dict[str, np.ndarray], parameters: int) -> Program:
    tensors, paths, inputs = {}, {}, []
    for spec in signature["input_specs"]:
        ((kind, what),) = spec.items()
        if kind == "user_input":
            inputs.append(_tensor_input(what["arg"]))
            continue
        if kind not in ("parameter", "buffer", "tensor_constant"):
            raise UnsupportedOpError(f"an input of kind {kind!r}; a denoiser takes tensors only")
        name, path = what["arg"]["name"], what[f"{kind}_name"]
        tensors[name], paths[name] = stored[path], _path(path)
    outputs = []
    for spec in signature["output_specs"]:
        ((kind, what),) = spec.items()
        if kind != "user_output":
            raise UnsupportedOpError(f"it changes what it holds ({kind}); export module.eval()")
        outputs.append(_tensor_input(what["arg"]))
    if len(outputs) != 1:
        raise UnsupportedOpError(f"a denoiser returns one tensor [B, C, H, W], not {len(outputs)}")
    sizes = {name: _size(value) for name, value in graph["sym_int_values"].items()}
    return Program(
        nodes=tuple(_node(node, sizes) for node in graph["nodes"]),
        tensors=tensors,
        paths=paths,
        inputs=tuple(inputs),
        output=outputs[0],
        shapes={name: _shape(meta) for name, meta in graph["tensor_values"].items()},
        parameters=parameters,
    )


def _tensor_input(arg: dict) -> str:
    if "as_tensor" not in arg:
        raise UnsupportedOpError(f"an input or output that is no tensor ({next(iter(arg))})")
    return Name(arg["as_tensor"]["name"]).text


def _node(node: dict, sizes: dict[str, int]) -> Node:
    outputs: list[str] = []
    for output in node["outputs"]:
        ((kind, value),) = output.items()
        if kind in ("as_tensor", "as_sym_float"):
            outputs.append(Name(value.get("name") or value["as_name"]).text)
        elif kind == "as_tensors":
            outputs.extend(Name(v["name"]).text for v in value)
    args = {entry["name"]: _argument(entry["arg"], sizes) for entry in node["inputs"]}
    stack = node["metadata"].get("nn_module_stack", "")
    levels = tuple(_level(text) for text in stack.split(";") if text) or (Level("", "", ""),)
    return Node(node["target"].removeprefix("torch.ops."), args, tuple(outputs), levels)


def _level(text: str) -> Level:
    call, _, rest = text.partition(",")
    path, _, qualified = rest.rpartition(",")
    return Level(call, _path(path.partition("@")[0]), qualified.rpartition(".")[2])


def _path(text: str) -> str:
    if PATH.fullmatch(text) is None:
        raise ValueError(f"a module path {text!r}")
    if any(map(keyword.iskeyword, text.split("."))):
        raise UnsupportedOpError(
            f"module {text} is called by a word of Python's own, which torch.fx cannot write"
        )
    return text


def _argument(arg: dict, sizes: dict[str, int]) -> Any:
    """A number, string, list, `Name` or None; devices, layouts and the like are None."""
    ((kind, value),) = arg.items()
    if kind == "as_tensor":
        return Name(value["name"])
    if kind == "as_tensors":
        return [Name(v["name"]) for v in value]
    if kind == "as_optional_tensors":
        return [_argument(v, sizes) for v in value]
    if kind == "as_sym_int":
        return _known_size(value, sizes)
    if kind == "as_sym_ints":
        return [_known_size(v, sizes) for v in value]
    if kind == "as_sym_float":
        return Name(value["as_name"]) if "as_name" in value else value["as_float"]
    if kind in ("as_int", "as_bool", "as_string", "as_ints", "as_bools", "as_floats", "as_scalar_type"):
        return value
    if kind == "as_float":
        return float(value)
    if kind in ("as_none", "as_device", "as_layout", "as_memory_format"):
        return None
    raise UnsupportedOpError(f"an argument of kind {kind!r}")


def _known_size(value: dict, sizes: dict[str, int]) -> int:
    return int(value["as_int"]) if "as_int" in value else sizes[value["as_name"]]


def _shape(meta: dict) -> Shape:
    return tuple(_size(size) for size in meta["sizes"])


def _size(size: dict) -> int:
    """A size, of the example where it was left open."""
    return int(size["as_int"] if "as_int" in size else size["as_expr"]["hint"]["as_int"])
