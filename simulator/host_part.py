"""What the processor beside the cores does in a call."""

from __future__ import annotations

import numpy as np

from nsim.frontends.network import HostOp, Network
from nsim.simulator import host_ops
from nsim.simulator.call_state import CallState
from nsim.simulator.projector import Addition, Items, Projector


class HostPart:
    """Plays host ops, in ``dtype``: convolutions with the engine's kernels, the rest in numpy."""

    def __init__(self, network: Network, projector: Projector, dtype: np.dtype) -> None:
        self._network = network
        self._projector = projector
        self._type = dtype
        self._twins = _twins(network)

    def play(self, op: HostOp, state: CallState) -> None:
        """Work out the value of a host op from those that are there."""
        if op.name in self._twins:
            state.values[op.name] = state.values[self._twins[op.name]]
            return
        inputs = [self._input(name, op, state) for name in op.inputs]
        if op.kind == "conv":
            state.values[op.name] = self._convolution(op, inputs[0], state)
        elif op.kind in host_ops.ELEMENTWISE and all(x.shape == inputs[0].shape for x in inputs):
            state.values[op.name] = self._elementwise(op, inputs, state)
        else:
            state.values[op.name] = host_ops.evaluate(op, inputs, self._type)

    def _elementwise(self, op: HostOp, inputs: list[np.ndarray], state: CallState) -> np.ndarray:
        """The same by threads, in pieces that fit their caches."""
        out = np.empty(inputs[0].shape, self._type)
        rows, *sources = (x.reshape(-1, *x.shape[-2:]) for x in (out, *inputs))

        def work(a: int, b: int) -> None:
            rows[a:b] = host_ops.evaluate(op, [source[a:b] for source in sources], self._type)

        state.tasks.run(len(rows), work)
        return out

    def _input(self, name: str, op: HostOp, state: CallState) -> np.ndarray:
        """Value of an input of a host op; what is constant over time is seen at each of its steps."""
        if name == self._network.diffusion_time:
            return state.times
        value = state.output_of(name)
        population = self._network.population_by_name.get(name)
        if name in state.spikes:
            value = value.astype(self._type)
        elif population is not None and population.unit is not None:
            value = value.astype(self._type) * self._type.type(population.unit)
        if op.every_step and len(op.in_shape) == 3:
            value = np.broadcast_to(value, (self._network.time_steps, *value.shape[1:]))
        return value

    def _convolution(self, op: HostOp, x: np.ndarray, state: CallState) -> np.ndarray:
        kernel = op.kernel
        assert kernel is not None
        c_out, height, width = op.shape
        out = np.zeros((*x.shape[:2], height, width, c_out), self._type)
        one = np.ones(c_out, self._type)
        bias = op.params.get("bias", np.zeros(c_out)).astype(self._type)
        nothing = np.empty((0, c_out), self._type)
        self._projector.apply(Addition(kernel, Items(x, False), one, bias, 0, nothing), out, state.tasks)
        return out


def _twins(network: Network) -> dict[str, str]:
    """Host ops that give what an earlier one gives: each block of a U-Net has the time's Swish to itself."""
    first: dict[tuple[object, ...], str] = {}
    twins = {}
    for op in network.host_ops:
        if not op.params and op.kernel is None:
            earlier = first.setdefault((op.kind, op.inputs, op.shape, op.every_step), op.name)
            if earlier != op.name:
                twins[op.name] = earlier
    return twins
