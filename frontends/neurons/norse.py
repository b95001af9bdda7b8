r"""norse's neurons: cells, one call for every time step, and layers over [T, B, ...]; all return their state.

Source: ``norse.torch.functional.lif_box``, ``iaf`` and ``lif`` (1.1.0). With f = dt tau_mem_inv:

LIFBoxCell:        :math:`U = V + f (X + v_{leak} - V)`
IAFCell, IAF:      :math:`U = V + X`
LIFCell, LIF:      :math:`I' = I + X`, :math:`U = V + f (v_{leak} - V + I')`,
                   :math:`I = (1 - \Delta t\,\tau_{syn}^{-1}) I'`

:math:`S = [U > v_{th}]`, not at the threshold; ``reset_value``: V = v_reset where S; ``reset_subtract``:
V = U - v_th where S. V starts at v_leak (IAF: v_reset). LIF is the box cell where dt tau_syn_inv = 1.
"""

from __future__ import annotations

from typing import Any

from nsim.frontends.network import NeuronModel
from nsim.frontends.neurons.dialect import Dialect, NeuronCall, refuse, scalar


def _box(module: Any, path: str) -> NeuronModel:
    p = module.p
    factor = scalar(module.dt * p.tau_mem_inv, path, module, "dt * tau_mem_inv")
    threshold = scalar(p.v_th, path, module, "v_th")
    leak = scalar(p.v_leak, path, module, "v_leak")
    if not 0.0 < factor <= 1.0:
        raise refuse(path, module, f"dt * tau_mem_inv = {factor:g}; above 0 and at most 1 can be had")
    tau = 1.0 / factor
    method = getattr(getattr(p, "reset_method", None), "__name__", "reset_value")
    if method == "reset_subtract":
        # the potential counted from v_leak
        return NeuronModel(threshold - leak, None, tau, strict=True, subtract=threshold)
    if method != "reset_value":
        raise refuse(path, module, f"reset_method {method} is not known; use reset_value or reset_subtract")
    reset = scalar(p.v_reset, path, module, "v_reset")
    if reset != leak:
        raise refuse(path, module, f"v_reset = {reset:g} is not v_leak = {leak:g}; give both the same value")
    return NeuronModel(threshold, reset, tau, strict=True)


def _with_current(module: Any, path: str) -> NeuronModel:
    kept = 1.0 - scalar(module.dt * module.p.tau_syn_inv, path, module, "dt * tau_syn_inv")
    if kept != 0.0:
        raise refuse(
            path,
            module,
            f"tau_syn_inv: the synaptic current keeps {kept:.3g} of itself each step, a second state that "
            "nsim does not play; use LIFBoxCell, or tau_syn_inv = 1 / dt",
        )
    return _box(module, path)


def _integrate_and_fire(module: Any, path: str) -> NeuronModel:
    threshold = scalar(module.p.v_th, path, module, "v_th")
    return NeuronModel(threshold, scalar(module.p.v_reset, path, module, "v_reset"), strict=True)


def _call(module: Any, path: str) -> NeuronCall:
    single = any(cls.__name__ in ("SNNCell", "SNNRecurrentCell") for cls in type(module).__mro__)
    return NeuronCall("none" if single else "first", returns_state=True)


_REFRACTORY = "has a refractory time; use LIFBoxCell"
_RECURRENT = "has weights and a way back to itself inside; use a layer and LIFBoxCell"
_SILENT = "sends its potential, not spikes; read the network out with a mean over time"

NORSE = Dialect(
    library="norse",
    is_ours=lambda module: hasattr(module, "p") and hasattr(module, "dt"),
    readers={
        "LIFBoxCell": _box,
        "LIFCell": _with_current,
        "LIF": _with_current,
        "IAFCell": _integrate_and_fire,
        "IAF": _integrate_and_fire,
    },
    call=_call,
    refused={
        "LIFRefracCell": _REFRACTORY,
        "LIFRefracRecurrentCell": _REFRACTORY,
        "LIFAdExRefracCell": _REFRACTORY,
        "LIFRecurrent": _RECURRENT,
        "LIFRecurrentCell": _RECURRENT,
        "LICell": _SILENT,
        "LI": _SILENT,
        "LIBoxCell": _SILENT,
    },
    families=frozenset({"SNN", "SNNCell", "SNNRecurrent", "SNNRecurrentCell"}),
    updates=frozenset({"forward", "initial_state"}),
)
