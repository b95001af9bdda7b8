"""nsim's own signed neurons, of ANNs converted to spikes: see `nsim.workloads.spiking.SignedIFNode`."""

from __future__ import annotations

from typing import Any

from nsim.frontends.network import NeuronModel
from nsim.frontends.neurons.dialect import Dialect, NeuronCall, scalar


def _signed(module: Any, path: str) -> NeuronModel:
    threshold = scalar(module.act_alpha, path, module, "act_alpha")
    return NeuronModel(threshold, v_reset=None, signed=True)


SIGNED = Dialect(
    library="nsim",
    is_ours=lambda module: hasattr(module, "act_alpha"),
    readers={"SignedIFNode": _signed},
    call=lambda module, path: NeuronCall("first"),
    refused={"QuantisedReLU": "is an ANN's activation; convert the network to spikes first: nsim convert"},
    families=frozenset(),
    updates=frozenset({"forward"}),
)
