"""What a library's neurons are told by, and what every reader of them needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nsim.errors import UnsupportedOpError
from nsim.frontends.network import NeuronModel

TimeAxis = Literal["first", "second", "fused", "none"]
"""Where a neuron module has time: [T, B, ...], [B, T, ...], [B * T, ...], or one call for every step."""


@dataclass(frozen=True)
class NeuronCall:
    """How a neuron module is called: where time is, and whether it returns (spikes, state)."""

    time: TimeAxis
    returns_state: bool = False


@dataclass(frozen=True)
class Dialect:
    """How one library writes neurons.

    ``is_ours``: True for a module that has the attributes of this library's neurons; ``readers``: class name
    to what reads its parameters, given the module and its path; ``refused``: class name to why it cannot be
    simulated and what to do; ``families``: base classes all of whose other children are refused;
    ``updates``: methods that make the dynamics, not to be overridden by a user's subclass.
    """

    library: str
    is_ours: Callable[[Any], bool]
    readers: Mapping[str, Callable[[Any, str], NeuronModel]]
    call: Callable[[Any, str], NeuronCall]
    refused: Mapping[str, str]
    families: frozenset[str]
    updates: frozenset[str]

    def known(self, name: str) -> bool:
        """True for a class name that this dialect has an answer for."""
        return name in self.readers or name in self.refused or name in self.families


def refuse(path: str, module: Any, what: str) -> UnsupportedOpError:
    """The error for a neuron whose dynamics cannot be reproduced: ``what`` it is, and what to do."""
    return UnsupportedOpError(f"{path}: {type(module).__name__}: {what}")


def scalar(value: Any, path: str, module: Any, name: str) -> float:
    """A parameter that holds for the whole layer, as a number."""
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value, dtype=np.float64)
    if array.size != 1:
        raise refuse(
            path,
            module,
            f"{name} has {array.size} values of shape {list(array.shape)}; nsim plays one for the layer, so "
            "give the module a single number",
        )
    return float(array.reshape(()))


def tau_of(decay: float, path: str, module: Any) -> float | None:
    """Time constant in steps of a potential that keeps ``decay`` of itself: 1 / (1 - decay), None for 1."""
    if not 0.0 <= decay <= 1.0:
        raise refuse(path, module, f"a potential that keeps {decay:g} of itself each step; 0 to 1 can be had")
    return None if decay == 1.0 else 1.0 / (1.0 - decay)
