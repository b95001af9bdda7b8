"""torch.export programs (``.pt2``): recognised, looked into without running anything, and refused.

Two reasons, both of the format. A program holds torch's elementary operations; a neuron in it is a dozen of
them for every time step, whose threshold, leak and reset are numbers among others, and from which a
population could only be guessed. And ``torch.export.load`` may unpickle what it finds (it falls back to
``weights_only=False``), while nsim opens model files without running code. The module that was exported, by
name, says all that is needed.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from nsim.errors import UnsupportedOpError
from nsim.frontends.neurons.recognise import knows_class

GRAPHS = ("models/model.json", "serialized_exported_program.json")
"""Endings of the archive member that holds the graph: of torch 2.7 and later, and before."""
SHOWN = 3


def refuse_program(path: Path) -> None:
    """Raise UnsupportedOpError, naming the neurons that were exported, where ``path`` is such a program."""
    try:
        with zipfile.ZipFile(path) as archive:
            graph = next((name for name in archive.namelist() if name.endswith(GRAPHS)), None)
            if graph is None:
                return
            neurons = _neurons(json.loads(archive.read(graph)))
    except (zipfile.BadZipFile, ValueError, KeyError):  # no archive, or a damaged one: the reader will say
        return
    listed = ", ".join(f"{module} ({kind})" for module, kind in list(neurons.items())[:SHOWN])
    more = f", and {len(neurons) - SHOWN} more" if len(neurons) > SHOWN else ""
    raise UnsupportedOpError(
        f"{path}: a torch.export program, in which neurons ({listed or 'none that nsim knows'}{more}) are "
        "arithmetic whose thresholds and resets cannot be told from other numbers; give the module that was "
        "exported, package.module:function, and its state dict (--weights FILE)"
    )


def _neurons(program: dict[str, Any]) -> dict[str, str]:
    """Module path to class name of the neurons that the graph's nodes came from, in order of execution."""
    found: dict[str, str] = {}
    for node in program["graph_module"]["graph"]["nodes"]:
        for level in node["metadata"].get("nn_module_stack", "").split(";"):
            _, _, rest = level.partition(",")
            module, _, qualified = rest.rpartition(",")
            kind = qualified.rpartition(".")[2]
            if knows_class(kind):
                found.setdefault(module.partition("@")[0], kind)
    return found
