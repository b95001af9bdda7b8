"""A program's neurons: the nodes of each neuron module, and what is worked out of numbers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nsim.errors import UnsupportedOpError
from nsim.frontends.neurons import TimeAxis
from nsim.frontends.neurons.recognise import knows_class
from nsim.frontends.pt2.archive import Level, Name, Node, Program
from nsim.frontends.pt2.arithmetic import IGNORED, Array, evaluate, is_known, operation, writes
from nsim.frontends.pt2.measure import Circuit

RESHAPES = frozenset({"view", "reshape", "unflatten"})


@dataclass(frozen=True, eq=False)
class Neuron:
    """A neuron module of a program: its circuit, and what it was called."""

    level: Level
    circuit: Circuit


def neuron_level(node: Node) -> Level | None:
    """The neuron module that a node belongs to, by the module's class name."""
    return next((level for level in node.levels if level.path and knows_class(level.kind)), None)


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


def fold(program: Program, nodes: Sequence[Node]) -> tuple[dict[str, Array], list[Node]]:
    """Values that follow from parameters and numbers alone, and the nodes that are left.

    Of a neuron's nodes only single numbers are worked out: its states have the size of its currents.
    """
    values, left = dict(program.tensors), []
    for node in nodes:
        known = all(name in values for name in node.names) and is_known(node)
        if known and neuron_level(node) is not None:
            known = all(len(s) <= 1 and math.prod(s) <= 1 for s in map(program.shapes.get, node.outputs) if s)
        if not known:
            left.append(node)
            continue
        numbers = {name: values[name] for name in node.names}
        floats = {name: v.astype(float) if v.dtype.kind == "f" else v for name, v in numbers.items()}
        values.update(zip(node.outputs, evaluate(node, floats, False), strict=False))
    return values, left


def neurons(program: Program, nodes: Sequence[Node], values: dict[str, Array]) -> dict[str, Neuron]:
    """The neuron modules of a program, by path; raises UnsupportedOpError, naming it, for what is none."""
    groups: dict[str, list[Node]] = {}
    for node in nodes:
        level = neuron_level(node)
        if level is not None:
            groups.setdefault(level.path, []).append(node)
    readers: dict[str, set[str]] = {program.output: {""}}
    for node in nodes:
        level = neuron_level(node)
        for name in node.names:
            readers.setdefault(name, set()).add("" if level is None else level.path)
    found = {}
    for path, members in groups.items():
        level = neuron_level(members[0])
        assert level is not None
        try:
            found[path] = Neuron(level, _circuit(program, path, members, values, readers))
        except UnsupportedOpError as error:
            raise not_a_neuron(level, error) from None
    return found


def not_a_neuron(level: Level, why: UnsupportedOpError | str) -> UnsupportedOpError:
    """The error for a module that should be a neuron."""
    return UnsupportedOpError(
        f"{level.path}: {level.kind}: {why}; give the module that was exported, package.module:function, "
        "and its state dict (--weights FILE)"
    )


def _circuit(
    program: Program,
    path: str,
    members: list[Node],
    values: dict[str, Array],
    readers: dict[str, set[str]],
) -> Circuit:
    calls: dict[str, list[Node]] = {}
    for node in members:
        calls.setdefault(next(level.call for level in node.levels if level.path == path), []).append(node)
    made = {name for node in members for name in node.outputs}
    currents, spikes = [], []
    for nodes in calls.values():
        read = dict.fromkeys(n for node in nodes for n in node.names if n not in made and n not in values)
        given = dict.fromkeys(n for node in nodes for n in node.outputs if readers.get(n, set()) - {path})
        if len(read) != 1 or len(given) != 1:
            raise UnsupportedOpError(
                f"takes {len(read)} tensors and gives {len(given)} in a call, where a neuron takes a current and "
                "gives spikes"
            )
        currents.append(*read)
        spikes.append(*given)
    shape = program.shapes[currents[0]]
    time, steps = _time(program, members, currents)
    if len(shape) < 2 + (time in ("first", "second")):
        raise UnsupportedOpError(f"takes a current of shape {list(shape)}, not a map for every image")
    read = {name: values[name] for node in members for name in node.names if name in values}
    constants = {}
    for name, value in read.items():
        if value.size == 0 or (value != value.flat[0]).any():
            raise UnsupportedOpError(
                f"reads {value.size} numbers of shape {list(value.shape)} that differ; nsim plays one for the layer"
            )
        constants[name] = float(value.flat[0])
    return Circuit(
        tuple(_with_tau(node, constants) for node in members), constants, tuple(currents), tuple(spikes), time, steps, shape
    )


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
        raise UnsupportedOpError(f"picks its steps from axis {dim} of {list(program.shapes[source])}")
    return "none", 1


def _with_tau(node: Node, constants: dict[str, float]) -> Node:
    """SpikingJelly's parametric LIF as its LIF, 1 / tau = sigmoid(w)."""
    if operation(node) != "sj_plif":
        return node
    tau = 1.0 + math.exp(-constants[node.args["w"].text])
    args = {key: value for key, value in node.args.items() if key != "w"} | {"tau": tau}
    return replace(node, target="sj_lif.forward.default", args=args)
