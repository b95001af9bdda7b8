"""Neuron dialects: which module classes are spiking neurons, and how to read their parameters.

Modules are matched by class name along their inheritance, so no spiking library is ever imported here.
"""

from __future__ import annotations

from typing import Any

from nsim.errors import UnsupportedOpError
from nsim.frontends.network import NeuronModel

IF_CLASSES = frozenset({"IFNode", "MultiStepIFNode"})
LIF_CLASSES = frozenset({"LIFNode", "MultiStepLIFNode"})


def is_neuron(module: Any) -> bool:
    """True for a module whose class, or one it inherits from, is a neuron nsim knows."""
    return not _class_names(module).isdisjoint(IF_CLASSES | LIF_CLASSES)


def read_neuron(module: Any, path: str) -> NeuronModel:
    """The NeuronModel of a module; raises UnsupportedOpError for a neuron with other dynamics."""
    v_threshold = float(module.v_threshold)
    v_reset = None if module.v_reset is None else float(module.v_reset)
    if not _class_names(module).isdisjoint(IF_CLASSES):
        return NeuronModel(v_threshold=v_threshold, v_reset=v_reset)
    if not _class_names(module).isdisjoint(LIF_CLASSES):
        return NeuronModel(
            v_threshold=v_threshold,
            v_reset=v_reset,
            tau=float(module.tau),
            decay_input=bool(module.decay_input),
        )
    raise UnsupportedOpError(
        f"{path}: {type(module).__name__} is not a neuron nsim can read; "
        f"known are {', '.join(sorted(IF_CLASSES | LIF_CLASSES))}"
    )


def _class_names(module: Any) -> set[str]:
    return {cls.__name__ for cls in type(module).__mro__}
