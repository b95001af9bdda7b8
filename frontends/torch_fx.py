"""Trace a torch module into an fx graph whose leaves are layers and neurons."""

from __future__ import annotations

import torch
from torch import fx, nn

from nsim.errors import UnsupportedOpError
from nsim.frontends.neurons import is_neuron

LEAVES = frozenset({"Swish", "SiLU", "NearestCode", "CodeVectors", "SpikingAttention", "LateralRouter"})
"""Modules of no torch package that a host op stands for as they are."""


class SpikingTracer(fx.Tracer):
    """fx tracer that stops at torch's own layers, at spiking neurons, and at modules that are one host op."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Leaf: traced as one call, not entered."""
        return is_neuron(m) or type(m).__name__ in LEAVES or super().is_leaf_module(m, module_qualified_name)


def trace(module: nn.Module) -> fx.GraphModule:
    """Trace ``module.forward``; raises UnsupportedOpError when its control flow depends on tensor values."""
    try:
        return fx.GraphModule(module, SpikingTracer().trace(module))
    except (torch.fx.proxy.TraceError, TypeError) as error:
        raise UnsupportedOpError(
            f"{type(module).__name__} cannot be traced: {error}. "
            "Its forward must not branch on tensor values."
        ) from error


def owner(node: fx.Node) -> str:
    """Path of the module in whose forward a node was recorded; empty for the model's own forward."""
    stack = node.meta.get("nn_module_stack") or {}
    return list(stack)[-1] if stack else ""
