r"""sinabs' neurons: time is the second axis, [B, T, ...], or fused with the batch, [B * T, ...] (Squeeze).

Source: ``sinabs.layers.functional.lif.lif_forward_single`` (3.1.3). With :math:`\alpha = e^{-1/\tau_{mem}}`:

LIF, ``norm_input``:       :math:`U = \alpha V + (1 - \alpha) X`
LIF, no ``norm_input``:    :math:`U = \alpha V + X`
IAF:                       :math:`U = V + X`

SingleSpike: :math:`S = [U \ge \theta]`; MembraneSubtract: :math:`V = U - d S`, d the threshold or a value of
its own; MembraneReset to 0: V = 0 where S.
"""

from __future__ import annotations

from typing import Any

from nsim.frontends.network import NeuronModel
from nsim.frontends.neurons.dialect import Dialect, NeuronCall, refuse, scalar, tau_of


def _leaky(module: Any, path: str) -> NeuronModel:
    decay = scalar(module.alpha_mem_calculated, path, module, "alpha_mem")
    return _model(module, path, tau_of(decay, path, module))


def _integrate_and_fire(module: Any, path: str) -> NeuronModel:
    return _model(module, path, None)


def _model(module: Any, path: str, tau: float | None) -> NeuronModel:
    if module.alpha_syn_calculated is not None:
        raise refuse(path, module, "tau_syn: a synaptic current is a second state; set tau_syn=None")
    if module.min_v_mem is not None:
        raise refuse(path, module, "min_v_mem: a lowest potential is not played; set min_v_mem=None")
    if getattr(module.spike_fn, "__name__", "") != "SingleSpike":
        name = getattr(module.spike_fn, "__name__", type(module.spike_fn).__name__)
        raise refuse(
            path,
            module,
            f"spike_fn {name} sends several spikes in one step; make it with spike_fn=SingleSpike",
        )
    reset = type(module.reset_fn).__name__
    if reset == "MembraneReset" and module.reset_fn.reset_value != 0.0:
        raise refuse(
            path,
            module,
            f"MembraneReset({module.reset_fn.reset_value:g}) adds its value at every step, spike or not; "
            "use MembraneReset(0)",
        )
    if reset not in ("MembraneReset", "MembraneSubtract"):
        raise refuse(path, module, f"reset_fn {reset} is not known; use MembraneReset or MembraneSubtract")
    soft = reset == "MembraneSubtract"
    amount = module.reset_fn.subtract_value if soft else None
    return NeuronModel(
        v_threshold=scalar(module.spike_threshold, path, module, "spike_threshold"),
        v_reset=None if soft else 0.0,
        tau=tau,
        decay_input=bool(module.norm_input),
        subtract=None if amount is None else float(amount),
    )


def _call(module: Any, path: str) -> NeuronCall:
    return NeuronCall("fused" if hasattr(module, "num_timesteps") else "second")


_RECURRENT = "feeds its spikes back to itself; use LIF or IAF"

SINABS = Dialect(
    library="sinabs",
    is_ours=lambda module: hasattr(module, "spike_fn"),
    readers={
        "LIF": _leaky,
        "LIFSqueeze": _leaky,
        "IAF": _integrate_and_fire,
        "IAFSqueeze": _integrate_and_fire,
    },
    call=_call,
    refused={
        "LIFRecurrent": _RECURRENT,
        "LIFRecurrentSqueeze": _RECURRENT,
        "IAFRecurrent": _RECURRENT,
        "ALIF": "has a threshold that adapts, a second state; use LIF",
        "ALIFRecurrent": "has a threshold that adapts, a second state; use LIF",
        "ExpLeak": "sends its potential, not spikes; read the network out with a mean over time",
        "ExpLeakSqueeze": "sends its potential, not spikes; read the network out with a mean over time",
    },
    families=frozenset({"StatefulLayer"}),
    updates=frozenset({"forward", "alpha_mem_calculated"}),
)
