"""Trace a torch module into an fx graph whose leaves are layers and neurons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from nsim.errors import UnsupportedOpError
from nsim.frontends.neurons import is_neuron, neuron_call

LEAVES = frozenset(
    {
        "Swish",
        "SiLU",
        "NearestCode",
        "CodeVectors",
        "SpikingAttention",
        "LateralRouter",
        "Dropout",
        "Dropout2d",
    }
)
"""Modules of no torch package that a host op stands for as they are, or that do nothing in inference."""
EVERY_STEP = frozenset({"SeqToANNContainer", "MultiStepContainer", "Lift"})
"""Containers of SpikingJelly and norse: what is in them is played at every step of [T, B, ...]."""
ALL_STEPS = "all_steps"
"""Node mark: a single-step neuron that such a container plays at every step."""


class SpikingTracer(fx.Tracer):
    """fx tracer that stops at torch's own layers, at spiking neurons, and at modules that are one host op.

    Layers that take [T, B, ...] (SpikingJelly's with step_mode 'm') and containers that play their content
    step by step are written out as the layer on [T * B, ...].
    """

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Leaf: traced as one call, not entered."""
        return (
            is_neuron(m)
            or type(m).__name__ in LEAVES
            or _is_torch_layer(m)
            or super().is_leaf_module(m, module_qualified_name)
        )

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A module's call: as fx has it, but for what sees all time steps at once."""
        if type(m).__name__ in EVERY_STEP:
            return self._every_step(m, args[0])
        multi_step = getattr(m, "step_mode", "s") == "m"
        if multi_step and not is_neuron(m) and self.is_leaf_module(m, ""):
            path = self.path_of_module(m)
            return _over_steps(args[0], lambda x: self.create_proxy("call_module", path, (x,), {}))
        return super().call_module(m, forward, args, kwargs)

    def _every_step(self, container: nn.Module, steps: fx.Proxy) -> Any:
        inner = getattr(container, "lifted_module", None)
        children = list(container.children()) if inner is None else [inner]
        stateful = False

        def play(x: Any) -> Any:
            nonlocal stateful
            for child in children:
                x = child(x)
                if is_neuron(child):
                    path = self.path_of_module(child)
                    call = neuron_call(child, path)
                    if call.time != "none":
                        raise UnsupportedOpError(f"{path}: takes all steps, in a container that plays each")
                    stateful = call.returns_state
                    x.node.meta[ALL_STEPS] = True
                    x = x[0] if stateful else x
            return x

        played = _over_steps(steps, play)
        return (played, None) if stateful else played


def trace(module: nn.Module) -> fx.GraphModule:
    """Trace ``module.forward``; raises UnsupportedOpError when its control flow depends on tensor values."""
    try:
        return fx.GraphModule(module, SpikingTracer().trace(module))
    except (torch.fx.proxy.TraceError, TypeError) as error:
        raise UnsupportedOpError(
            f"{type(module).__name__} cannot be traced: {error}. "
            "Its forward must not branch on tensor values, nor loop over a tensor's sizes: keep the number "
            "of time steps in an attribute."
        ) from error


def owner(node: fx.Node) -> str:
    """Path of the module in whose forward a node was recorded; empty for the model's own forward."""
    stack = node.meta.get("nn_module_stack") or {}
    return list(stack)[-1] if stack else ""


def attribute(root: nn.Module, target: str) -> torch.Tensor:
    """The tensor that a ``get_attr`` node stands for."""
    found: Any = root
    for part in target.split("."):
        found = getattr(found, part)
    return found


def _is_torch_layer(module: nn.Module) -> bool:
    """True for a library's class that is one of torch's with its name kept (SpikingJelly's layer.Conv2d)."""
    name = type(module).__name__
    return any(
        cls.__name__ == name and cls.__module__.startswith("torch.nn.") for cls in type(module).__mro__[1:]
    )


def _over_steps(x: Any, play: Callable[[Any], Any]) -> Any:
    """``play`` on [T * B, ...] of a tensor [T, B, ...]."""
    return play(x.flatten(0, 1)).unflatten(0, (x.shape[0], x.shape[1]))
