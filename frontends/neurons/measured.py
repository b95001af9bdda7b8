"""Neurons that were told by measurement, of exported programs: see `nsim.frontends.pt2.measure`."""

from __future__ import annotations

from typing import Any

from torch import nn

from nsim.frontends.network import NeuronModel
from nsim.frontends.neurons.dialect import Dialect, NeuronCall, TimeAxis


class MeasuredNeuron(nn.Module):
    """Stands for a neuron whose model is known; lowered, never run."""

    def __init__(self, model: NeuronModel, time: TimeAxis) -> None:
        super().__init__()
        self.measured, self.time = model, time


def _model(module: Any, path: str) -> NeuronModel:
    return module.measured


MEASURED = Dialect(
    library="nsim",
    is_ours=lambda module: hasattr(module, "measured"),
    readers={"MeasuredNeuron": _model},
    call=lambda module, path: NeuronCall(module.time),
    refused={},
    families=frozenset(),
    updates=frozenset(),
)
