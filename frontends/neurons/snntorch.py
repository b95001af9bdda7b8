r"""snnTorch's neurons: one call for every time step, state handed along or kept inside (``init_hidden``).

Source: ``snntorch._neurons.leaky`` and ``lapicque`` (1.0.0, the methods ``_base_sub``, ``_base_zero``,
``_base_int``). With the potential U of the step before, R = [U > threshold] and beta cut to [0, 1]:

Leaky, "subtract":     :math:`U' = \beta U + X - R\,\theta`
Leaky, "zero":         :math:`U' = \beta (1 - R) U + X`
Leaky, "none":         :math:`U' = \beta U + X`
Lapicque:              the same with :math:`\beta = 1 - \Delta t / (R C)` and the input times
                       :math:`\Delta t / C`

and :math:`S = [U' > \theta]`, not at the threshold. The subtraction comes after the leak: it is a soft reset
of :math:`\theta / \beta` right after the spike.
"""

from __future__ import annotations

from typing import Any

from nsim.frontends.network import NeuronModel
from nsim.frontends.neurons.dialect import Dialect, NeuronCall, refuse, scalar, tau_of

SUBTRACT, ZERO, NONE = 0, 1, 2
"""Values of ``reset_mechanism_val``."""


def _leaky(module: Any, path: str) -> NeuronModel:
    beta = min(max(scalar(module.beta, path, module, "beta"), 0.0), 1.0)
    if int(module.reset_mechanism_val) == SUBTRACT and not getattr(module, "reset_delay", True):
        raise refuse(
            path,
            module,
            "reset_delay=False with reset 'subtract' counts a spike twice where the potential stays above "
            "the threshold; use reset_delay=True, or reset_mechanism='zero'",
        )
    return _model(module, path, beta, decay_input=False)


def _lapicque(module: Any, path: str) -> NeuronModel:
    resistance = scalar(module.R, path, module, "R")
    if resistance != 1.0:
        raise refuse(path, module, f"R = {resistance:g} scales its input; set R = 1 and scale the weights")
    if int(module.reset_mechanism_val) == ZERO:
        raise refuse(
            path,
            module,
            "reset 'zero' also loses the input of the step after a spike (a refractory step); "
            "use Leaky, or reset_mechanism='subtract'",
        )
    capacitance = scalar(module.C, path, module, "C")
    decay = 1.0 - scalar(module.time_step, path, module, "time_step") / capacitance
    return _model(module, path, decay, decay_input=True)


def _model(module: Any, path: str, decay: float, decay_input: bool) -> NeuronModel:
    for name in ("inhibition", "state_quant"):
        if getattr(module, name, False):
            raise refuse(path, module, f"{name} is not played; switch it off")
    if scalar(module.graded_spikes_factor, path, module, "graded_spikes_factor") != 1.0:
        raise refuse(path, module, "graded_spikes_factor is not 1; scale the weights that follow instead")
    surrogate = getattr(module.spike_grad, "__qualname__", "").partition(".")[0]
    if surrogate in ("SSO", "LSO"):
        raise refuse(path, module, f"spike_grad {surrogate} changes the spikes themselves; use atan()")
    threshold = scalar(module.threshold, path, module, "threshold")
    reset = int(module.reset_mechanism_val)
    if reset == SUBTRACT and decay == 0.0:
        raise refuse(path, module, "reset 'subtract' of a potential that keeps nothing; use 'zero'")
    subtract = threshold / decay if reset == SUBTRACT else 0.0 if reset == NONE else None
    return NeuronModel(
        v_threshold=threshold,
        v_reset=0.0 if reset == ZERO else None,
        tau=tau_of(decay, path, module),
        decay_input=decay_input,
        strict=True,
        subtract=subtract,
    )


def _call(module: Any, path: str) -> NeuronCall:
    return NeuronCall("none", returns_state=bool(module.output) or not module.init_hidden)


_SECOND_ORDER = "has a synaptic current beside its potential; use Leaky"
_RECURRENT = "feeds its spikes back to itself; use Leaky"

SNNTORCH = Dialect(
    library="snnTorch",
    is_ours=lambda module: hasattr(module, "spike_grad"),
    readers={"Leaky": _leaky, "Lapicque": _lapicque},
    call=_call,
    refused={
        "Synaptic": _SECOND_ORDER,
        "Alpha": _SECOND_ORDER,
        "RLeaky": _RECURRENT,
        "RSynaptic": _RECURRENT,
        "SLSTM": "is a long short-term memory; use Leaky",
        "SConv2dLSTM": "is a long short-term memory; use Leaky",
        "LeakyParallel": "holds its input weights inside and has no reset; use a layer and Leaky",
    },
    families=frozenset({"SpikingNeuron", "LIF"}),
    updates=frozenset({"forward", "fire", "mem_reset"}),
)
