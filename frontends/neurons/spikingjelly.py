r"""SpikingJelly's neurons, 0.0.0.0.14 and 2.x, and the multi-step classes of versions before.

Source: ``spikingjelly.activation_based.neuron`` (docstrings of IFNode, LIFNode, ParametricLIFNode). With the
potential V, the input X and the resting value r = v_reset (0 for None):

IFNode:                          :math:`U = V + X`
LIFNode, ``decay_input``:        :math:`U = V + (X - (V - r)) / \tau`
LIFNode, no ``decay_input``:     :math:`U = V - (V - r) / \tau + X`
ParametricLIFNode:               LIFNode with :math:`1 / \tau = \mathrm{sigmoid}(w)`

:math:`S = [U \ge v_{threshold}]`, then V = v_reset where S, or :math:`V = U - v_{threshold} S` for None.
"""

from __future__ import annotations

import math
from typing import Any

from nsim.frontends.network import NeuronModel
from nsim.frontends.neurons.dialect import Dialect, NeuronCall, scalar


def _integrate_and_fire(module: Any, path: str) -> NeuronModel:
    return NeuronModel(*_levels(module, path))


def _leaky(module: Any, path: str) -> NeuronModel:
    return NeuronModel(
        *_levels(module, path), scalar(module.tau, path, module, "tau"), bool(module.decay_input)
    )


def _parametric(module: Any, path: str) -> NeuronModel:
    """LIF with a learned 1 / tau, kept as a number ``w`` whose sigmoid it is."""
    tau = 1.0 + math.exp(-scalar(module.w, path, module, "w"))
    return NeuronModel(*_levels(module, path), tau, bool(module.decay_input))


def _levels(module: Any, path: str) -> tuple[float, float | None]:
    reset = None if module.v_reset is None else scalar(module.v_reset, path, module, "v_reset")
    return scalar(module.v_threshold, path, module, "v_threshold"), reset


def _is_ours(module: Any) -> bool:
    if type(module).__name__ in ("Dropout", "Dropout2d"):  # stateful in training only
        return False
    return hasattr(module, "v_threshold") or hasattr(module, "step_mode")


def _call(module: Any, path: str) -> NeuronCall:
    return NeuronCall("first" if getattr(module, "step_mode", "m") == "m" else "none")


_SECOND_ORDER = "has a state beside its potential; use LIFNode or IFNode"

SPIKINGJELLY = Dialect(
    library="SpikingJelly",
    is_ours=_is_ours,
    readers={
        "IFNode": _integrate_and_fire,
        "MultiStepIFNode": _integrate_and_fire,
        "LIFNode": _leaky,
        "MultiStepLIFNode": _leaky,
        "ParametricLIFNode": _parametric,
        "MultiStepParametricLIFNode": _parametric,
    },
    call=_call,
    refused={
        "CUBALIFNode": _SECOND_ORDER,
        "GatedLIFNode": _SECOND_ORDER,
        "ComplementaryLIFNode": _SECOND_ORDER,
        "IzhikevichNode": _SECOND_ORDER,
        "AdaptBaseNode": _SECOND_ORDER,
        "LIAFNode": "sends an activation of its potential, not spikes; use LIFNode",
        "NonSpikingBaseNode": "sends its potential, not spikes; read the network out with a mean over time",
        "NonSpikingIFNode": "sends its potential, not spikes; read the network out with a mean over time",
        "NonSpikingLIFNode": "sends its potential, not spikes; read the network out with a mean over time",
        "PSN": "looks at all time steps at once, which no chip can; use LIFNode",
        "MaskedPSN": "looks at several time steps at once, which no chip can; use LIFNode",
        "SlidingPSN": "looks at several time steps at once, which no chip can; use LIFNode",
        "TernaryIFNode": "sends signed spikes; use IFNode",
        "TernaryLIFNode": "sends signed spikes; use LIFNode",
    },
    families=frozenset({"BaseNode", "SimpleBaseNode", "MemoryModule"}),
    updates=frozenset(
        {
            "forward",
            "single_step_forward",
            "multi_step_forward",
            "single_step_functional_forward",
            "multi_step_functional_forward",
            "neuronal_charge",
            "neuronal_fire",
            "neuronal_reset",
        }
    ),
)
