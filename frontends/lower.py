"""Lower a traced fx graph into a Network: nothing dropped, nothing guessed.

The graph is walked once. A neuron turns the sum it receives into a population with projections; a sum that
is used twice, or read by something that is not linear, becomes an analog population of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import fx, nn

from nsim.errors import UnsupportedOpError
from nsim.frontends.builder import NetworkBuilder, Ref, Sum, Value, join_path, unsupported
from nsim.frontends.layers import as_array, channel_parts
from nsim.frontends.network import Gate, Network, Population
from nsim.frontends.neurons import is_neuron, neuron_call, read_neuron
from nsim.frontends.ops import ARITHMETIC, FUNCTIONS, MODULES
from nsim.frontends.steps import roll_steps
from nsim.frontends.torch_fx import attribute, owner, trace
from nsim.frontends.views import BATCH_FIRST_AXES, BATCH_FIRST_MAP_AXES, IMAGE_AXES, MAP_AXES, STEP_AXES

BATCH = 3
"""Stand-in batch size for working out shapes; any number would do."""
NEURON_AXES = {
    "first": (STEP_AXES,),
    "second": (BATCH_FIRST_AXES,),
    "fused": (BATCH_FIRST_MAP_AXES,),
    "none": (MAP_AXES, IMAGE_AXES),
}
"""What a neuron may be given, by where it has time."""


def lower(module: nn.Module, image_shape: tuple[int, int, int], time_steps: int, name: str) -> Network:
    """Trace and lower a denoiser ``module(x [B, C, H, W], t [B]) -> eps [B, C, H, W]``, or one without ``t``.

    Its neurons take all time steps at once, or are called in a loop over them: see `neuron_call`.
    Raises UnsupportedOpError naming the operation and its module path when something has no place in a
    Network.
    """
    for path, part in module.named_modules():
        if is_neuron(part):
            read_neuron(part, path)  # what cannot be played is refused before anything else is looked at
    return lower_graph(trace(module.eval()), image_shape, time_steps, name)


def lower_graph(
    traced: fx.GraphModule, image_shape: tuple[int, int, int], time_steps: int, name: str, batch: int = BATCH
) -> Network:
    """Lower a graph of layers, functions and neurons; ``batch``: images, where its sizes are written out."""
    return _Lowering(roll_steps(traced, time_steps), image_shape, time_steps, name, batch).network()


class _Lowering:
    """The walk over one graph; `lower` is its only user."""

    def __init__(
        self,
        traced: fx.GraphModule,
        image_shape: tuple[int, int, int],
        time_steps: int,
        name: str,
        batch: int,
    ) -> None:
        self.traced = traced
        self.modules = dict(traced.named_modules())
        self.image_shape = image_shape
        self.batch = batch
        self.build = NetworkBuilder(name, time_steps)
        self.values: dict[fx.Node, Any] = {}

    def network(self) -> Network:
        inputs = [node for node in self.traced.graph.nodes if node.op == "placeholder"]
        if len(inputs) not in (1, 2):
            raise UnsupportedOpError(
                f"{self.build.name}: a denoiser takes the image and the diffusion time, this model takes "
                f"{', '.join(node.name for node in inputs) or 'nothing'}"
            )
        output = ""
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self._input(node, node is inputs[0])
            elif node.op == "output":
                output = self._output(node.args[0])
            else:
                self.values[node] = self._settled(node, self._visit(node))
        return Network(
            name=self.build.name,
            time_steps=self.build.time_steps,
            image=inputs[0].name,
            diffusion_time=inputs[1].name if len(inputs) == 2 else None,
            output=output,
            populations=tuple(self.build.populations),
            projections=tuple(self.build.projections),
            biases=tuple(self.build.biases),
            host_ops=tuple(self.build.host_ops),
        )

    # ---- what a node is -------------------------------------------------------------------------

    def _input(self, node: fx.Node, is_image: bool) -> Value:
        if not is_image:
            self.build.kinds[node.name] = "time"
            return Value(Ref(node.name), (("B",),), {"B": self.batch})
        self.build.populations.append(Population(node.name, "source", self.image_shape))
        self.build.kinds[node.name] = "source"
        c, h, w = self.image_shape
        return Value(Ref(node.name), IMAGE_AXES, {"B": self.batch, "C": c, "H": h, "W": w})

    def _output(self, returned: Any) -> str:
        value = self.values[returned] if isinstance(returned, fx.Node) else None
        if not isinstance(value, Value) or value.axes != IMAGE_AXES:
            found = value.text if isinstance(value, Value) else f"a {type(returned).__name__}"
            raise UnsupportedOpError(
                f"{self.build.name}: a denoiser returns one tensor [B, C, H, W], not {found}"
            )
        return self.build.host_input(value, returned)

    def _visit(self, node: fx.Node) -> Any:
        args: Any = fx.node.map_arg(node.args, lambda n: self.values[n])
        kwargs: Any = fx.node.map_arg(node.kwargs, lambda n: self.values[n])
        if node.op == "get_attr":
            return Value(as_array(attribute(self.traced, str(node.target))), (), {})
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            if is_neuron(module):
                return self._neuron(node, module, *args)
            handler = MODULES.get(type(module).__name__)
            if handler is None:
                raise unsupported(node, f"module {type(module).__name__}")
            return handler(self.build, node, module, *args, **kwargs)
        target = node.target if node.op == "call_method" else getattr(node.target, "__name__", node.target)
        tensors = [a for a in _flat(args) if isinstance(a, Value)]
        constant = str(target) in ARITHMETIC and all(isinstance(v.content, np.ndarray) for v in tensors)
        if not tensors:
            return node.target(*args, **kwargs)  # type: ignore[operator]
        if constant:
            numbers = [a.content if isinstance(a, Value) else a for a in args]
            return Value(np.asarray(node.target(*numbers)), (), {})  # type: ignore[operator]
        handler = FUNCTIONS.get(str(target))
        if handler is None:
            raise unsupported(node, f"operation {target!r}")
        return handler(self.build, node, *args, **kwargs)

    def _settled(self, node: fx.Node, value: Any) -> Any:
        """A sum that several nodes read becomes an analog population, once."""
        if not (isinstance(value, Value) and isinstance(value.content, Sum)):
            return value
        readers = [user for user in node.users if not _reads_only_shape(user)]
        if not readers:
            return value
        home = owner(node) or value.content.home or join_path(_parent(readers[0]), "input")
        value = replace(value, content=replace(value.content, home=home))
        parts = channel_parts(value)
        if parts and all(self.build.kinds[part.content.name] == "neuron" for part in parts):
            return value  # spikes side by side: each reader gets them as they are
        return self.build.materialised(value) if len(readers) > 1 else value

    def _neuron(self, node: fx.Node, module: nn.Module, value: Value, running: Value | None = None) -> Value:
        gate = None if running is None else running.content
        if gate is not None and not isinstance(gate, Gate):
            raise unsupported(node, "a neuron run by something that is no gate")
        name = str(node.target)
        neuron = read_neuron(module, name)
        axes = NEURON_AXES[neuron_call(module, name).time]
        if value.axes not in axes:
            wanted = ", ".join(" * ".join(group) for group in axes[0])
            raise UnsupportedOpError(f"{name}: a neuron takes [{wanted}], not {value.text}")
        _check_sizes(module, name, self.build.time_steps)
        if name in self.build.kinds:
            raise UnsupportedOpError(
                f"{name}: the same neuron module is called twice in one forward; give each place its own"
            )
        self.build.add_population(value, name, "neuron", neuron, gate)
        # one call for every step, all of an image that does not change: from here on steps differ
        axes_after = MAP_AXES if value.axes == IMAGE_AXES else value.axes
        return replace(
            value, content=Ref(name), axes=axes_after, sizes={**value.sizes, "T": self.build.time_steps}
        )


def _check_sizes(module: nn.Module, name: str, time_steps: int) -> None:
    """Refuse a neuron over [B * T, ...] that is built for another number of time steps."""
    steps = getattr(module, "num_timesteps", time_steps)
    if steps != time_steps:
        raise UnsupportedOpError(
            f"{name}: {type(module).__name__} with num_timesteps={steps}, batch_size={module.batch_size}; "
            f"make it with num_timesteps={time_steps} and no batch_size"
        )


def _flat(args: Any) -> list[Any]:
    return [x for a in args for x in (_flat(a) if isinstance(a, tuple | list) else [a])]


def _parent(node: fx.Node) -> str:
    path = owner(node)
    return path.rpartition(".")[0] if node.op == "call_module" else path


def _reads_only_shape(node: fx.Node) -> bool:
    return node.target in (getattr, "size", "dim")
