"""The neurons of a program: the modules whose arithmetic measures as a neuron's."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nsim.errors import UnsupportedOpError
from nsim.frontends.network import NeuronModel
from nsim.frontends.neurons import TimeAxis
from nsim.frontends.pt2.archive import Level, Node, Program
from nsim.frontends.pt2.arithmetic import IGNORED, Array, evaluate, fires, is_known, operation, writes
from nsim.frontends.pt2.circuit import Circuit
from nsim.frontends.pt2.measure import measure

RESHAPES = frozenset({"view", "reshape", "unflatten"})
Found = dict[str, "Neuron"]


@dataclass(frozen=True, eq=False)
class Neuron:
    """A neuron module of a program."""

    circuit: Circuit
    model: NeuronModel


def live_nodes(program: Program) -> list[Node]:
    """The nodes whose values reach the output, or are written into what does."""
    kept: list[Node] = []
    read = {program.output}
    for node in reversed(program.nodes):
        used = writes(node) or not read.isdisjoint(node.outputs)
        if used and operation(node) not in IGNORED:
            kept.append(node)
            read.update(node.names)
    return kept[::-1]


def within(node: Node, paths: Collection[str]) -> bool:
    """True for a node of one of these modules."""
    return any(level.path in paths for level in node.levels)


def fold(
    program: Program, nodes: Sequence[Node], neurons: Collection[str]
) -> tuple[dict[str, Array], list[Node]]:
    """Values that follow from parameters and numbers alone, and the nodes that are left.

    Of a neuron's nodes only single numbers are worked out: its states have the size of its currents.
    """
    values, left = dict(program.tensors), []
    for node in nodes:
        known = all(name in values for name in node.names) and is_known(node)
        if known and within(node, neurons):
            known = all(len(s) <= 1 and math.prod(s) <= 1 for s in map(program.shapes.get, node.outputs) if s)
        if not known:
            left.append(node)
            continue
        numbers = {name: values[name] for name in node.names}
        floats = {name: v.astype(float) if v.dtype.kind == "f" else v for name, v in numbers.items()}
        values.update(zip(node.outputs, evaluate(node, floats, exact=False), strict=False))
    return values, left


def find_neurons(program: Program, nodes: Sequence[Node]) -> Found:
    """The neuron modules of a program, by path; class names do not matter.

    A module is looked at where something in it is compared with a threshold, and where all that it holds is
    arithmetic: the innermost first, which may be a surrogate function that is none, then the modules around
    it that hold no other. Raises UnsupportedOpError, naming the module, where none is a neuron.
    """
    members = _members(nodes)
    plain = {path for path, held in members.items() if all(map(is_known, held))}
    tried = {level.path for node in nodes if fires(node) for level in node.levels} & plain
    values, left = fold(program, nodes, tried)
    members = _members(left)
    known: dict[Any, NeuronModel | UnsupportedOpError] = {}
    found: Found = {}
    for node in left:
        if not fires(node) or within(node, found):
            continue
        chain = [level for level in reversed(node.levels) if level.path in tried]
        error = None if chain else _beside(node.owner, members)
        for level in chain:
            if not _holds_only(members[level.path], chain):
                break
            try:
                circuit = _circuit(program, level.path, members[level.path], left, values)
                found[level.path] = Neuron(circuit, _model(circuit, known))
                break
            except UnsupportedOpError as refused:
                error = _not_a_neuron(level, refused)
        if error is not None and not within(node, found):
            raise error
    return found


def _beside(level: Level, members: dict[str, list[Node]]) -> UnsupportedOpError | None:
    """The error for a threshold in a module that does other work; None in the model's own forward."""
    other = next((node for node in members.get(level.path, ()) if not is_known(node)), None)
    if other is None:
        return None
    what = f"compares with a threshold beside operation {other.target}, and a neuron is a module of its own"
    return _not_a_neuron(level, UnsupportedOpError(what))


def _holds_only(members: list[Node], chain: list[Level]) -> bool:
    """True where all thresholds of a module are in the modules of ``chain``."""
    return {node.owner.path for node in members if fires(node)} <= {level.path for level in chain}


def _members(nodes: Sequence[Node]) -> dict[str, list[Node]]:
    """The nodes of every module, those of the modules inside it too."""
    members: dict[str, list[Node]] = {}
    for node in nodes:
        for path in dict.fromkeys(level.path for level in node.levels if level.path):
            members.setdefault(path, []).append(node)
    return members


def _model(circuit: Circuit, known: dict[Any, NeuronModel | UnsupportedOpError]) -> NeuronModel:
    """The circuit's model; circuits that do the same sums are measured once."""
    key = circuit.key()
    if key not in known:
        try:
            known[key] = measure(circuit)
        except UnsupportedOpError as error:
            known[key] = error
    model = known[key]
    if isinstance(model, UnsupportedOpError):
        raise model
    return model


def _not_a_neuron(level: Level, why: UnsupportedOpError) -> UnsupportedOpError:
    return UnsupportedOpError(
        f"{level.path}: {level.kind}: {why}; if nsim knows the class, give the module that was exported, "
        "package.module:function, and its state dict (--weights FILE)"
    )


def _circuit(
    program: Program, path: str, members: list[Node], nodes: Sequence[Node], values: dict[str, Array]
) -> Circuit:
    """The arithmetic of the module at ``path``, all its calls together."""
    read_elsewhere = {program.output, *(n for node in nodes if not within(node, (path,)) for n in node.names)}
    calls: dict[str, list[Node]] = {}
    for node in members:
        calls.setdefault(next(level.call for level in node.levels if level.path == path), []).append(node)
    made = {name for node in members for name in node.outputs}
    currents: list[str] = []
    spikes: list[str] = []
    for held in calls.values():
        read = dict.fromkeys(n for node in held for n in node.names if n not in made and n not in values)
        given = dict.fromkeys(n for node in held for n in node.outputs if n in read_elsewhere)
        if len(read) != 1 or len(given) != 1:
            raise UnsupportedOpError(
                f"a call of it takes {len(read)} tensors and gives {len(given)}, not a current and spikes"
            )
        currents.append(*read)
        spikes.append(*given)
    shape = program.shapes[currents[0]]
    time, steps = _time(program, members, currents)
    if len(shape) < 2 + (time in ("first", "second")):
        raise UnsupportedOpError(f"it takes a current of shape {list(shape)}, not a map for every image")
    constants = {name: _constant(values[name]) for node in members for name in node.names if name in values}
    arithmetic = tuple(_with_tau(node, constants) for node in members)
    return Circuit(arithmetic, constants, tuple(currents), tuple(spikes), time, steps, shape)


def _constant(value: Array) -> float:
    if value.size == 0 or (value != value.flat[0]).any():
        raise UnsupportedOpError(
            f"it reads {value.size} different numbers of shape {list(value.shape)}, and nsim plays one for "
            "the layer"
        )
    return float(value.flat[0])


def _time(program: Program, members: list[Node], currents: list[str]) -> tuple[TimeAxis, int]:
    """Where a neuron has time, and how many steps: what it picks its steps from says so."""
    if len(currents) > 1:
        return "none", len(currents)
    (current,) = currents
    fused = {n.outputs[0] for n in members if operation(n) in RESHAPES and n.names == [current]}
    for node in members:
        picks = operation(node) in ("select", "unbind") or operation(node).startswith("sj_")
        source = node.names[0] if picks else ""
        if source != current and source not in fused:
            continue
        dim = int(node.args.get("dim", 0)) % len(program.shapes[source])
        steps = program.shapes[source][dim]
        if source in fused and dim == 1:
            return "fused", steps
        if source == current and dim < 2:
            return ("first", "second")[dim], steps
        raise UnsupportedOpError(f"it picks its steps from axis {dim} of {list(program.shapes[source])}")
    return "none", 1


def _with_tau(node: Node, constants: dict[str, float]) -> Node:
    """SpikingJelly's parametric LIF as its LIF, 1 / tau = sigmoid(w)."""
    if operation(node) != "sj_plif":
        return node
    tau = 1.0 + math.exp(-constants[node.args["w"].text])
    args = {key: value for key, value in node.args.items() if key != "w"} | {"tau": tau}
    return replace(node, target="sj_lif.forward.default", args=args)
