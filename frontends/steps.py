"""Forwards that call their neurons once for every time step, rolled up into one pass over all steps.

Tracing writes such a loop out T times. The copies differ in nothing but the step they belong to, so each
node is kept once and stands for [T * B, ...]; what is added up or stacked over the steps becomes a sum or a
stack over time. A graph whose neurons all take their steps at once comes out as it went in.
"""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from nsim.errors import UnsupportedOpError
from nsim.frontends.neurons import NeuronCall, is_neuron, neuron_call
from nsim.frontends.torch_fx import ALL_STEPS, attribute, owner

ZEROS = frozenset({"zeros", "zeros_like", "new_zeros"})
ADDITIONS = frozenset({"add", "add_", "iadd"})


def stack_steps(steps: torch.Tensor, dim: int = 0) -> torch.Tensor:
    """Stands for ``torch.stack`` of one tensor of every step; lowered, never run."""
    raise NotImplementedError


def sum_steps(steps: torch.Tensor) -> torch.Tensor:
    """Stands for one tensor added up over the steps; lowered, never run."""
    raise NotImplementedError


def each_step(steps: torch.Tensor) -> torch.Tensor:
    """Stands for ``steps[k]`` at every step k; lowered, never run."""
    raise NotImplementedError


def roll_steps(traced: fx.GraphModule, time_steps: int) -> fx.GraphModule:
    """The graph with each loop over time steps written once.

    Raises UnsupportedOpError, with the module's path, for a neuron that is not called once for every step,
    for what carries values from one step to the next outside a neuron, and for a read potential.
    """
    modules = dict(traced.named_modules())
    calls = {
        node: neuron_call(modules[str(node.target)], str(node.target))
        for node in traced.graph.nodes
        if node.op == "call_module" and is_neuron(modules[str(node.target)])
    }
    if all(call.time != "none" and not call.returns_state for call in calls.values()):
        return traced
    rolled = fx.GraphModule(traced, _Roll(traced, calls, time_steps).rolled())
    rolled.graph.eliminate_dead_code()
    return rolled


@dataclass(frozen=True)
class _Partial:
    """A tensor added up over steps 0 to ``step``; ``term``: its node in the new graph, one for all steps."""

    term: fx.Node
    step: int


@dataclass(frozen=True)
class _State:
    """What a neuron hands to its own next call."""

    neuron: str


class _Roll:
    """The walk over one graph; `roll_steps` is its only user."""

    def __init__(self, traced: fx.GraphModule, calls: dict[fx.Node, NeuronCall], time_steps: int) -> None:
        self.traced = traced
        self.calls = calls
        self.time_steps = time_steps
        self.graph = fx.Graph()
        self.new: dict[fx.Node, Any] = {}
        """A node's counterpart in the new graph, or the `_Partial` or `_State` it is."""
        self.step: dict[fx.Node, int] = {}
        """The step that a node belongs to, for those that belong to one."""
        self.made: dict[Any, fx.Node] = {}
        self.played: dict[str, int] = {}

    def rolled(self) -> fx.Graph:
        played = Counter(str(node.target) for node in self.calls if self._is_one_step(node))
        for path, times in played.items():
            if times != self.time_steps:
                raise UnsupportedOpError(
                    f"{path}: plays one step at a time and is called {times} times, the model has "
                    f"{self.time_steps} time steps; call it once for each, or set its step_mode to 'm' and "
                    "give it [T, B, C, H, W]"
                )
        for node in self.traced.graph.nodes:
            self.new[node] = self._visit(node)
        return self.graph

    def _is_one_step(self, neuron: fx.Node) -> bool:
        return self.calls[neuron].time == "none" and not neuron.meta.get(ALL_STEPS)

    def _visit(self, node: fx.Node) -> Any:
        if node in self.calls:
            return self._neuron(node)
        source = node.args[0] if node.args else None
        index = node.args[1] if node.target is operator.getitem else None
        if isinstance(source, fx.Node) and node.target is operator.getitem:
            call = self.calls.get(source)
            if call is not None and call.returns_state:
                return self._output(node, source, index)
            if isinstance(index, int) and not _is_shape(source) and isinstance(self.new[source], fx.Node):
                return self._slice(node, source, index)
        partial = self._partial(node)
        if partial is not None:
            return self._made_sum(node, partial)
        if getattr(node.target, "__name__", node.target) == "stack":
            return self._stack(node)
        self._set_step(node, node.all_input_nodes)
        if node.op == "output" and node in self.step:
            raise self._across(node)
        return self._make(node, self._mapped(node, node.args), self._mapped(node, node.kwargs))

    def _neuron(self, node: fx.Node) -> fx.Node:
        """A neuron's call: the k-th one is step k; the state it is handed is its own."""
        path = str(node.target)
        current, states = node.args[0], [*node.args[1:], *node.kwargs.values()]
        for state in states:
            known = self.new.get(state) if isinstance(state, fx.Node) else None
            own = isinstance(known, _State) and known.neuron == path
            first = state is None or (isinstance(state, fx.Node) and self._is_zero(state))
            if not (own or first):
                raise UnsupportedOpError(
                    f"{path}: gets a state that is not its own of the step before; start it from nothing and "
                    "hand on what it returns"
                )
        assert isinstance(current, fx.Node)
        made = self._make(node, (self._one(node, current),), {})
        if not self._is_one_step(node):
            return made
        k = self.played.get(path, 0)
        if self.step.get(current, k) != k:
            raise self._across(node)
        self.played[path], self.step[node] = k + 1, k
        return made

    def _output(self, node: fx.Node, neuron: fx.Node, index: Any) -> Any:
        """Element of a neuron's (spikes, state)."""
        if neuron in self.step:
            self.step[node] = self.step[neuron]
        return self.new[neuron] if index == 0 else _State(str(neuron.target))

    def _slice(self, node: fx.Node, source: fx.Node, index: int) -> Any:
        """``steps[k]``: of what has all steps, the part that step k sees."""
        if source in self.step or not 0 <= index < self.time_steps:
            raise self._across(node)
        self.step[node] = index
        return self._insert(("each", self.new[source]), each_step, (self.new[source],), node)

    def _partial(self, node: fx.Node) -> _Partial | None:
        """The sum over steps that an addition goes on with, if it does."""
        if str(getattr(node.target, "__name__", node.target)) not in ADDITIONS or len(node.args) != 2:
            return None
        so_far, term = node.args
        if not isinstance(term, fx.Node) or term not in self.step or not isinstance(self.new[term], fx.Node):
            return None
        step, new = self.step[term], self.new[term]
        before = self.new.get(so_far) if isinstance(so_far, fx.Node) else None
        if isinstance(before, fx.Node) and isinstance(so_far, fx.Node):
            nothing = self._is_zero(so_far)
            first = before is new and self.step.get(so_far) == step - 1 == 0
            return _Partial(new, step) if first or (nothing and step == 0) else None
        if isinstance(before, _Partial):
            return _Partial(new, step) if (before.term, before.step) == (new, step - 1) else None
        return _Partial(new, 0) if so_far == 0 and step == 0 else None

    def _is_zero(self, node: fx.Node) -> bool:
        """True for a tensor of zeros, which starts a state or a sum."""
        if node.op == "get_attr":
            return not attribute(self.traced, str(node.target)).count_nonzero()
        return str(getattr(node.target, "__name__", node.target)) in ZEROS

    def _made_sum(self, node: fx.Node, partial: _Partial) -> Any:
        if partial.step < self.time_steps - 1:
            return partial
        return self._insert(("sum", partial.term), sum_steps, (partial.term,), node)

    def _stack(self, node: fx.Node) -> fx.Node:
        tensors = list(node.args[0])  # type: ignore[arg-type]
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        terms = {self.new[t] for t in tensors}
        steps = [self.step.get(t) for t in tensors]
        if len(terms) != 1 or steps not in (list(range(self.time_steps)), [None] * self.time_steps):
            raise self._across(node)
        term = terms.pop()
        return self._insert(("stack", term, dim), stack_steps, (term, dim), node)

    def _set_step(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        steps = {self.step[i] for i in inputs if i in self.step}
        if len(steps) > 1:
            raise self._across(node)
        if steps:
            self.step[node] = steps.pop()

    def _mapped(self, node: fx.Node, args: Any) -> Any:
        return fx.node.map_arg(args, lambda n: self._one(node, n))

    def _one(self, node: fx.Node, read: fx.Node) -> fx.Node:
        new = self.new[read]
        if isinstance(new, _State):
            raise UnsupportedOpError(
                f"{new.neuron}: its potential is read by {node.name!r}; a chip sends spikes only, so read "
                "the network out by its spikes, summed or averaged over time"
            )
        if isinstance(new, _Partial):
            raise self._across(node)
        return new

    def _make(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> fx.Node:
        """The node with its new arguments: made, or found when an equal one was."""
        key = (node.op, node.target, _key(args), _key(kwargs))
        if node.op in ("placeholder", "output") or key not in self.made:
            made = self.graph.create_node(node.op, node.target, args, kwargs, node.name, node.type)
            made.meta = dict(node.meta)
            self.made[key] = made
        return self.made[key]

    def _insert(self, key: Any, function: Any, args: tuple[Any, ...], node: fx.Node) -> fx.Node:
        if key not in self.made:
            self.made[key] = self.graph.call_function(function, args)
            self.made[key].meta = dict(node.meta)
        return self.made[key]

    def _across(self, node: fx.Node) -> UnsupportedOpError:
        where = owner(node).partition("@")[0] or "the model's forward"
        return UnsupportedOpError(
            f"{where}: {node.name!r} uses values of more than one time step; between steps only neurons keep "
            "a state, and outputs are stacked, summed or averaged over all steps"
        )


def _is_shape(node: fx.Node) -> bool:
    return node.target in ("size", getattr)


def _key(args: Any) -> Any:
    """Arguments as something that can be looked up."""
    if isinstance(args, tuple | list):
        return tuple(map(_key, args))
    if isinstance(args, dict):
        return tuple((name, _key(value)) for name, value in args.items())
    return repr(args) if isinstance(args, slice) else args
