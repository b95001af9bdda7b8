r"""NIR's neuron nodes and nsim's NeuronModel, each way.

NIR (``nir.ir.neuron``, 1.0.8), stepped forward by dt, with U the potential before the reset:

LIF:        :math:`U = V + (dt / \tau) (v_{leak} - V + r I)`
IF:         :math:`U = V + r I`, r in units of one step (1, or, written as the equation has it, 1 / dt)
Threshold:  :math:`U = I`, which is a LIF that forgets everything in one step

:math:`S = [U > v_{threshold}]`, then V = v_reset where S. A node whose metadata has ``fires_at_threshold``
fires at its threshold too, which NIR has no word for. V starts at v_reset, where NIR says nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nsim.errors import ModelFileError, UnsupportedOpError
from nsim.frontends.network import NeuronModel

AT_THRESHOLD = "fires_at_threshold"
CLOSE = 1e-6
"""How near to 1 a factor counts as 1: libraries work r and tau out in float32."""

_POTENTIAL = "sends its potential, not spikes; leave it out: the host averages over time what reaches Output"
_CURRENT = "has a synaptic current beside its potential, a second state; use LIF"
REFUSED = {
    "CubaLIF": _CURRENT,
    "CubaLI": _POTENTIAL,
    "LI": _POTENTIAL,
    "I": _POTENTIAL,
    "Delay": "holds signals back, which no layer of nsim does; leave it out, or delay the input",
}
"""Nodes that are not read, and what to do."""


def refuse_node(path: str, node: Any, why: str) -> UnsupportedOpError:
    """The error for a node that cannot be read."""
    return UnsupportedOpError(f"{path} ({type(node).__name__}): {why}")


def read_nir_neuron(
    path: str, node: Any, shape: tuple[int, ...], dt: float | None
) -> tuple[NeuronModel, float]:
    """The NeuronModel of a neuron node on a signal of ``shape``, and the factor of its currents.

    Raises UnsupportedOpError for parameters that no NeuronModel has, ModelFileError where ``dt`` is needed
    and not known.
    """
    own = np.shape(node.threshold if type(node).__name__ == "Threshold" else node.v_threshold)
    if np.prod(own) != 1 and own != shape:
        raise refuse_node(
            path, node, f"has parameters of shape {list(own)}, what reaches it is {list(shape)}"
        )
    if type(node).__name__ == "Threshold":
        threshold = _uniform(path, node, "threshold")
        return NeuronModel(threshold, 0.0, tau=1.0, decay_input=False, strict=True), 1.0
    strict = not node.metadata.get(AT_THRESHOLD, False)
    threshold, reset, r = (_uniform(path, node, field) for field in ("v_threshold", "v_reset", "r"))
    if type(node).__name__ == "IF":
        if not _is_one(r) and not _is_one(r * _known(path, node, dt)):
            raise refuse_node(path, node, f"r = {r:g} is neither 1 nor 1 / dt; scale the weights instead")
        return NeuronModel(threshold, reset, strict=strict), 1.0
    leak = _uniform(path, node, "v_leak")
    if leak != reset:
        raise refuse_node(
            path,
            node,
            f"v_leak = {leak:g} is not v_reset = {reset:g}, and nsim's neurons rest where they are reset; "
            "give both one value, and add what is missing to the bias of what feeds it",
        )
    tau = _uniform(path, node, "tau") / _known(path, node, dt)
    if tau < 1.0:
        raise refuse_node(path, node, f"tau is {tau:g} of a time step of {dt:g} s; take a dt of at most tau")
    if _is_one(r):
        return NeuronModel(threshold, reset, tau, strict=strict), 1.0
    factor = 1.0 if _is_one(r / tau) else r / tau
    return NeuronModel(threshold, reset, tau, decay_input=False, strict=strict), factor


def write_nir_neuron(neuron: NeuronModel, shape: tuple[int, ...], dt: float) -> Any:
    """The neuron node of a population of ``shape``; ``neuron`` resets to a value."""
    import nir

    def all_of(value: float) -> np.ndarray:
        return np.full(shape, value)

    assert neuron.v_reset is not None
    both: dict[str, Any] = {"v_threshold": all_of(neuron.v_threshold), "v_reset": all_of(neuron.v_reset)}
    both["metadata"] = {} if neuron.strict else {AT_THRESHOLD: True}
    if neuron.tau is None:
        return nir.IF(r=all_of(1.0), **both)
    r = 1.0 if neuron.decay_input else neuron.tau
    return nir.LIF(tau=all_of(neuron.tau * dt), r=all_of(r), v_leak=all_of(neuron.v_reset), **both)


def _uniform(path: str, node: Any, field: str) -> float:
    """A parameter that all neurons of a node share."""
    values = np.unique(getattr(node, field))
    if len(values) != 1:
        raise refuse_node(
            path,
            node,
            f"{field} differs from neuron to neuron ({values[0]:g} to {values[-1]:g}), and a population has "
            "one; cut the node up, or scale weights and biases so that one will do",
        )
    return float(values[0])


def _is_one(factor: float) -> bool:
    return abs(factor - 1.0) < CLOSE


def _known(path: str, node: Any, dt: float | None) -> float:
    if dt is None:
        raise ModelFileError(
            f"{path} ({type(node).__name__}): its time constants are in seconds, and the file does not say "
            "how long a time step is; "
            "say it (--dt 1e-4 for files of snnTorch and SpikingJelly, 1e-6 for norse's)"
        )
    return dt
