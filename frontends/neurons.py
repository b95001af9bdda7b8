"""Neuron dialects: which module classes are spiking neurons, and how to read their parameters.

Modules are matched by class name along their inheritance, so no spiking library is ever imported here.
"""

from __future__ import annotations

import math
from typing import Any

from nsim.errors import UnsupportedOpError
from nsim.frontends.network import NeuronModel

IF_CLASSES = frozenset({"IFNode", "MultiStepIFNode"})
LIF_CLASSES = frozenset({"LIFNode", "MultiStepLIFNode"})
PLIF_CLASSES = frozenset({"ParametricLIFNode", "MultiStepParametricLIFNode"})
"""LIF with a learned 1 / tau, kept as a number ``w`` whose sigmoid it is."""
KNOWN = IF_CLASSES | LIF_CLASSES | PLIF_CLASSES


def is_neuron(module: Any) -> bool:
    """True for a module whose class, or one it inherits from, is a neuron nsim knows."""
    return not _class_names(module).isdisjoint(KNOWN)


def read_neuron(module: Any, path: str) -> NeuronModel:
    """The NeuronModel of a module; raises UnsupportedOpError for a neuron with other dynamics."""
    if _class_names(module).isdisjoint(KNOWN):
        raise UnsupportedOpError(
            f"{path}: {type(module).__name__} is not a neuron nsim can read; "
            f"known are {', '.join(sorted(KNOWN))}"
        )
    if getattr(module, "step_mode", "m") != "m":
        raise UnsupportedOpError(
            f"{path}: {type(module).__name__} plays one step at a time; set its step_mode to 'm' and give it "
            "[T, B, C, H, W]"
        )
    v_threshold = float(module.v_threshold)
    v_reset = None if module.v_reset is None else float(module.v_reset)
    if not _class_names(module).isdisjoint(IF_CLASSES):
        return NeuronModel(v_threshold=v_threshold, v_reset=v_reset)
    learned = not _class_names(module).isdisjoint(PLIF_CLASSES)
    tau = 1.0 + math.exp(-float(module.w.detach())) if learned else float(module.tau)
    return NeuronModel(v_threshold, v_reset, tau, bool(module.decay_input))


def _class_names(module: Any) -> set[str]:
    return {cls.__name__ for cls in type(module).__mro__}
