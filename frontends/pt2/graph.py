"""A torch.export program as an fx graph of torch layers, functions and neurons, such as tracing gives.

Every operation keeps the module path it was recorded in. What belongs to a neuron is one `MeasuredNeuron`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from nsim.errors import UnsupportedOpError
from nsim.frontends.builder import join_path
from nsim.frontends.neurons.measured import MeasuredNeuron
from nsim.frontends.pt2.archive import FLOATS, Name, Node, Program, Shape
from nsim.frontends.pt2.arithmetic import SAME, operation
from nsim.frontends.pt2.groups import Found, find_neurons, fold, live_nodes, within
from nsim.frontends.pt2.layers import LAYERS, STATE, layer

METHODS = {
    "unsqueeze": "dim",
    "flatten": "start_dim end_dim",
    "unflatten": "dim sizes",
    "expand": "size",
    "repeat": "repeats",
    "repeat_interleave": "repeats dim",
    "permute": "dims",
    "view": "size",
    "reshape": "shape",
    "sigmoid": "",
}
"""Methods that `lower` knows by the same name, and what they are called with beside the tensor."""
FUNCTIONS: dict[str, Callable] = {"add": operator.add, "mul": operator.mul, "div": operator.truediv}
OVER_TIME = frozenset({"sum", "mean"})
ACTIVATIONS = {"Swish": nn.SiLU, "SiLU": nn.SiLU, "Tanh": nn.Tanh}
"""Modules that are one host op as they are, by class name."""


def to_graph(program: Program) -> tuple[fx.GraphModule, int]:
    """The graph, and the time steps of its neurons; raises UnsupportedOpError, with a module's path."""
    nodes = live_nodes(program)
    found = find_neurons(program, nodes)
    steps = {neuron.circuit.time_steps for neuron in found.values()}
    if len(steps) != 1:
        many = "neurons of " + " and ".join(map(str, sorted(steps))) + " time steps; all must have the same"
        raise UnsupportedOpError(many if steps else "no neurons, which are modules of their own, in it")
    values, nodes = fold(program, nodes, found)
    return _Writer(program, values, found).written(nodes), steps.pop()


class _Writer:
    """The walk over one program; `to_graph` is its only user."""

    def __init__(self, program: Program, values: dict[str, np.ndarray], found: Found) -> None:
        self.program = program
        self.values = values
        self.neurons = found.keys()
        self.spikes = {
            spikes: (path, current)
            for path, neuron in found.items()
            for current, spikes in zip(neuron.circuit.currents, neuron.circuit.spikes, strict=True)
        }
        self.leaves: dict[str, nn.Module] = {
            path: MeasuredNeuron(neuron.model, neuron.circuit.time) for path, neuron in found.items()
        }
        self.layers: dict[str, tuple[str, ...]] = {}
        """What was made at each path, and of which weights."""
        self.constants: dict[str, torch.Tensor] = {}
        self.graph = fx.Graph()
        self.made: dict[str, fx.Node] = {}

    def written(self, nodes: list[Node]) -> fx.GraphModule:
        """The whole graph."""
        for name in self.program.inputs:
            self.made[name] = self.graph.placeholder(name)
        for node in nodes:
            if within(node, self.neurons):
                self._spikes(node)
                continue
            made = self._operation(node)
            made.meta.setdefault("nn_module_stack", {node.owner.path: None} if node.owner.path else {})
            self.made[node.outputs[0]] = made
        self.graph.output(self.made[self.program.output])
        module = fx.GraphModule(self._root(), self.graph)
        module.graph.eliminate_dead_code()
        return module

    def _root(self) -> nn.Module:
        """A module that holds the leaves and constants at their paths, parents first."""
        root = nn.Module()
        for path in sorted(self.leaves):
            parent, _, name = path.rpartition(".")
            _inside(root, parent).add_module(name, self.leaves[path])
        for path, tensor in self.constants.items():
            parent, _, name = path.rpartition(".")
            _inside(root, parent).register_buffer(name, tensor)
        return root

    def _spikes(self, node: Node) -> None:
        """A neuron's call, where its spikes come into being."""
        for name in node.outputs:
            if name in self.spikes:
                path, current = self.spikes[name]
                self.made[name] = self._call(path, self._tensor(node, Name(current)))

    def _call(self, path: str, *args: fx.Node) -> fx.Node:
        made = self.graph.call_module(path, args)
        made.meta["nn_module_stack"] = {path: None}
        return made

    def _operation(self, node: Node) -> fx.Node:
        name, args = operation(node), node.args
        first = next(iter(args.values()), None)
        if name in LAYERS:
            return self._layer(node)
        if name in SAME or (name == "dropout" and not args["train"]):
            if args.get("dtype") not in (None, *FLOATS):
                raise _unsupported(node, f"a change to torch type {args['dtype']}, which rounds,")
            return self._tensor(node, first)
        if name in FUNCTIONS and args.get("alpha", 1) == 1 and not args.get("rounding_mode"):
            return self._two(node, name)
        if name in ("cat", "stack"):
            tensors = [self._tensor(node, t) for t in args["tensors"]]
            dim = args.get("dim", 0) % len(self.program.shapes[node.outputs[0]])
            return self.graph.call_function(getattr(torch, name), (tensors, dim))
        made = self._of_one(node, self._tensor(node, first)) if isinstance(first, Name) else None
        if made is None:
            raise _unsupported(node, f"operation {node.target}")
        return made

    def _of_one(self, node: Node, x: fx.Node) -> fx.Node | None:
        """What is done to one tensor; None for what has no counterpart."""
        name, args = operation(node), node.args
        if name in METHODS:
            more = [self._plain(node, key) for key in METHODS[name].split() if key in args]
            return self.graph.call_method(name, (x, *(more[0] if name == "expand" else more)))
        if name in OVER_TIME and len(args.get("dim") or ()) == 1 and not args.get("keepdim"):
            return self.graph.call_method(name, (x, self._dim(node, args["dim"][0])))
        if name == "slice" and self._shape(node) == self.program.shapes[node.outputs[0]]:
            return x  # [:], of which nothing is left out
        if name == "select" and self._dim(node, args["dim"]) == 0:
            return self.graph.call_function(operator.getitem, (x, args["index"]))
        if name in ("silu", "tanh"):
            return self._activation(node, x, getattr(nn.functional, name))
        return self._upsampled(node, x) if name == "upsample_nearest2d" else None

    def _layer(self, node: Node) -> fx.Node:
        path, module, data = layer(node, self.program, self.values)
        key = (str(module), *(node.args[k].text for k in STATE if isinstance(node.args.get(k), Name)))
        if self.layers.setdefault(path, key) != key:
            raise _unsupported(node, f"weights that two different layers read ({path})")
        self.leaves[path] = module
        return self._call(path, self._tensor(node, node.args[data]))

    def _two(self, node: Node, name: str) -> fx.Node:
        """A sum, product or quotient of two; a Swish where its module says that the product is one."""
        operands: list[Any] = [node.args["self"], node.args["other"]]
        left, right = (self._tensor(node, x) if isinstance(x, Name) else x for x in operands)
        for x, gate in ((left, right), (right, left)):
            sigmoid = isinstance(gate, fx.Node) and gate.target == "sigmoid" and gate.args == (x,)
            if name == "mul" and sigmoid and node.owner.kind in ("Swish", "SiLU"):
                return self._activation(node, x, nn.functional.silu)
        if name == "add" and not isinstance(right, fx.Node):
            left, right = right, left  # as ``0 + x``, which begins a sum over steps
        return self.graph.call_function(FUNCTIONS[name], (left, right))

    def _activation(self, node: Node, x: fx.Node, function: Callable) -> fx.Node:
        module = ACTIVATIONS.get(node.owner.kind)
        if module is None:
            return self.graph.call_function(function, (x,))
        self.leaves[node.owner.path] = module()
        return self._call(node.owner.path, x)

    def _upsampled(self, node: Node, x: fx.Node) -> fx.Node:
        """Nearest up-sampling, by the factor between the shapes."""
        before, after = self._shape(node)[2:], self.program.shapes[node.outputs[0]][2:]
        factors = {a / b for a, b in zip(after, before, strict=True)}
        if len(factors) != 1:
            raise _unsupported(node, f"up-sampling from {list(before)} to {list(after)}")
        return self.graph.call_function(
            nn.functional.interpolate, (x,), {"scale_factor": factors.pop(), "mode": "nearest"}
        )

    def _tensor(self, node: Node, name: Any) -> fx.Node:
        """The node of a value; numbers that were worked out are held as constants."""
        if not isinstance(name, Name):
            raise _unsupported(node, f"operation {node.target} on what is no tensor")
        if name.text not in self.made and name.text in self.values:
            path = self.program.paths.get(name.text) or join_path(node.owner.path, name.text)
            self.constants[path] = torch.from_numpy(np.array(self.values[name.text]))
            self.made[name.text] = self.graph.get_attr(path)
        if name.text not in self.made:
            raise _unsupported(node, f"{name.text}, which a neuron keeps for itself,")
        return self.made[name.text]

    def _plain(self, node: Node, key: str) -> Any:
        """An argument that is sizes or an axis, axes counted from the front."""
        given = node.args[key]
        if key == "dim" and operation(node) == "unsqueeze":
            return given % (len(self._shape(node)) + 1)
        is_axis = key in ("dim", "start_dim", "end_dim") and given is not None
        return self._dim(node, given) if is_axis else given

    def _dim(self, node: Node, dim: int) -> int:
        return dim % len(self._shape(node))

    def _shape(self, node: Node) -> Shape:
        """Shape of the first tensor that a node reads."""
        return self.program.shapes[node.names[0]]


def _inside(root: nn.Module, path: str) -> nn.Module:
    """The module at a path, made where there is none."""
    for name in filter(None, path.split(".")):
        if name not in root._modules:
            root.add_module(name, nn.Module())
        root = root.get_submodule(name)
    return root


def _unsupported(node: Node, what: str) -> UnsupportedOpError:
    where = f"{node.owner.path} ({node.owner.kind})" if node.owner.path else "the model's forward"
    return UnsupportedOpError(
        f"{where}: {what} of a torch.export program has no place in a Network; write it with torch's layers "
        "and IF/LIF neurons, or give the module that was exported, package.module:function"
    )
