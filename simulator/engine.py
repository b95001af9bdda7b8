"""One denoiser call, layer by layer, all time steps of a layer together.

A barrier-synchronised chip sums what arrives within a tick, so the order inside a tick cannot change a
spike: layers can be played one after the other, exactly, while their weights are in cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from nsim.errors import RunError
from nsim.frontends.kernel import Kernel
from nsim.frontends.network import HostOp, Network, NeuronModel, Population, Projection
from nsim.simulator.call import Call
from nsim.simulator.call_state import CallState, Target
from nsim.simulator.host_part import HostPart
from nsim.simulator.integers import IntegerArithmetic
from nsim.simulator.projector import Addition, Items, Projector, RowWork, in_turn, largest_sum, rows_of
from nsim.simulator.row_updates import clipping, narrowing, neuron_update
from nsim.simulator.tasks import Tasks

Precision = Literal["float32", "float64", "int"]
SUM_TYPES = {"float32": np.float32, "float64": np.float64, "int": np.int32}
CURRENT_LIMIT = 2**30
"""Largest magnitude of an integer current: what spikes and streams add, leaving room in 32 bits for the
host's."""
HOST_TYPES = {"float32": np.float32, "float64": np.float64, "int": np.float32}


class Engine:
    """A network made ready to be called, one call at a time: weights tiled once for one arithmetic.

    ``precision``: float32 (fixed order of additions), float64 (reference), or int: a quantised network (see
    `nsim.frontends.quantize`) in exact integer sums, its state in ``arithmetic``; what the host computes is
    float32 there, and rounded to the population's unit. ``threads`` defaults to the number of cores; the
    result does not depend on it. Raises RunError for ``int`` and a network that is not quantised, or one that
    is and another precision.
    """

    def __init__(
        self,
        network: Network,
        precision: Precision = "float32",
        threads: int | None = None,
        arithmetic: IntegerArithmetic | None = None,
    ) -> None:
        quantised = any(p.unit is not None for p in network.populations)
        if quantised != (precision == "int"):
            raise RunError(
                f"{network.name}: {'' if quantised else 'not '}quantised, so not to be played in "
                f"{precision}; quantize() makes integers of real weights, for precision 'int' only"
            )
        self.network = network
        self.arithmetic = arithmetic or IntegerArithmetic()
        self.integer = precision == "int"
        self.sum_type = np.dtype(SUM_TYPES[precision])
        self.host_type = np.dtype(HOST_TYPES[precision])
        self._tasks = Tasks(threads)
        self._projector = Projector(self._tasks.threads)
        self._host = HostPart(network, self._projector, self.host_type)
        self._memory = np.empty(0, self.sum_type)
        self._outgoing: dict[str, list[Projection]] = {}
        for projection in network.projections:
            self._outgoing.setdefault(projection.source, []).append(projection)
        self._biases: dict[str, list[str]] = {}
        for bias in network.biases:
            self._biases.setdefault(bias.target, []).append(bias.host_op)
        self._readers = _readers(network)
        self._scalings: dict[int, tuple[np.ndarray | int, np.ndarray]] = {}
        self._blocks: dict[str, list[int]] = {}

    @property
    def weight_bytes(self) -> int:
        """Memory that the weights of all calls so far take, in bytes."""
        return self._projector.weight_bytes

    def call(self, x: np.ndarray, t: np.ndarray | None = None, keep_currents: bool = False) -> Call:
        """Play one denoiser call: images ``x`` [B, C, H, W] and diffusion times ``t`` [B] (integers).

        An input that changes from time step to time step is ``x`` [T, B, C, H, W]. A network that takes no
        diffusion time is called without ``t``.
        """
        network = self.network
        image = network.population_by_name[network.image]
        x = np.asarray(x)
        varying = x.ndim == 5 and len(x) == network.time_steps
        batch = x.shape[1:2] if varying else x.shape[:1]
        t = np.zeros(batch) if t is None and network.diffusion_time is None else np.asarray(t)
        if x.shape != (*x.shape[: 1 + varying], *image.shape) or t.shape != batch:
            raise ValueError(
                f"{network.name} takes x [B, {', '.join(map(str, image.shape))}] and t [B]; "
                f"got x {list(x.shape)} and t {list(t.shape)}"
            )
        state = CallState(t.astype(np.int64), self._tasks)
        values = _channels_last(x.astype(self.host_type))
        state.values[network.image] = values if varying else values[None]
        for item in network.execution_order:
            if isinstance(item, HostOp):
                self._host.play(item, state)
            elif item.kind != "source":
                self._population(item, state, keep_currents)
            elif item.host_op is not None:
                value = state.values[item.host_op]  # features [B, F] are a map of one element
                state.values[item.name] = value[None, :, None, None, :] if value.ndim == 2 else value
            elif item.constant is not None:
                constant = _channels_last(item.constant.astype(self.host_type))
                state.values[item.name] = np.broadcast_to(constant, (1, len(t), *constant.shape))
        return Call(
            network=network,
            eps=_channels_first(state.values[network.output])[0],
            spikes={k: _channels_first(v).view(bool) for k, v in state.spikes.items()},
            active={k: _channels_first(v).view(bool) for k, v in state.active.items()},
            potentials={k: _channels_first(v) for k, v in state.potentials.items()},
            currents={k: _channels_first(v) for k, v in state.currents.items()},
            running=state.running,
            signs={k: _channels_first(v) for k, v in state.signs.items()},
        )

    def _population(self, population: Population, state: CallState, keep: bool) -> None:
        c, h, w = population.shape
        batch, steps = len(state.times), self.network.time_steps
        if population.host_op is not None:
            state.values[population.name] = self._on_grid(state.values[population.host_op], population)
            return
        if population.name in state.spikes:  # played already, with the stream that it reads
            return
        if population.gate is not None:
            state.gates[population.name] = state.values[population.gate.host_op][..., population.gate.index]
            state.running[population.name] = state.gates[population.name] != 0
        # The currents of neurons are gone once these are updated: one piece of memory serves all.
        lasting = keep or population.neuron is None
        current = (np.empty if lasting else self._scratch)((steps, batch, h, w, c), self.sum_type)
        target = Target(current, self._constant(population, state))
        if population.neuron is None:
            self._stream(population, target, state)
        else:
            self._neurons(population, population.neuron, target, state)
        if keep:
            played = (population, *self._readers.get(population.name, ()))
            state.currents.update((p.name, current) for p in played if p.neuron is not None)

    def _collect(
        self, population: Population, target: Target, state: CallState, after: RowWork | None = None
    ) -> None:
        """Add up what ``population`` gets, and do ``after`` to all its rows, to each as soon as it may be."""
        current, running = target.current, state.running.get(population.name)
        looked_at = self.integer and self._may_overflow(population, target, state)
        whole_first = looked_at or running is not None
        incoming = self.network.incoming(population.name)
        parts = [self._part(projection, population, state, target) for projection in incoming]
        target.fill((0, current.shape[-1]))
        works = [] if whole_first or after is None else [after]
        # what is elementwise and comes last is added by whoever has completed the rows before it
        while len(parts) > 1 and (by_rows := parts[-1].by_rows) is not None:
            works.insert(0, by_rows)
            parts.pop()
        for i, part in enumerate(parts, 1):
            part.run(in_turn(works) if works and i == len(parts) else None)
        if whole_first or not parts:
            if looked_at:
                self._check_range(population, current)
            if running is not None:
                current[~running] = 0
            if after is not None:
                state.tasks.run(rows_of(current).shape[1], after)

    def _stream(self, population: Population, target: Target, state: CallState) -> None:
        """The values of an analog population, and the neurons that these are all the currents of."""
        current, readers = target.current, self._readers.get(population.name, ())
        works = [work for reader in readers for work in self._update(reader, current, state)]
        if self.integer:
            clip, largest = clipping(current, self.arithmetic)
            works.insert(0, clip)
            if any(not p.kernel.is_elementwise for p in self._outgoing.get(population.name, ())):
                narrow = state.narrow[population.name] = np.empty(current.shape, np.int16)
                works.append(narrowing(current, narrow))
        if population.gate is None:
            self._collect(population, target, state, in_turn(works) if works else None)
        else:
            self._collect(population, target, state)
            weights = state.gates[population.name].astype(self.host_type)
            weighted = current * weights[..., None, None, None]
            current[:] = np.rint(weighted) if self.integer else weighted
            if works:
                state.tasks.run(rows_of(current).shape[1], in_turn(works))
        if self.integer:
            state.largest[population.name] = int(largest.max())
            if readers and state.largest[population.name] > self.arithmetic.current_limit:
                self._check_range(readers[0], current)
        state.values[population.name] = current

    def _constant(self, population: Population, state: CallState) -> np.ndarray:
        """What a population gets at every position and time step, from its bias and the host: [B, C]."""
        constant = np.zeros((len(state.times), population.shape[0]), self.sum_type)
        if population.bias is not None:
            constant += population.bias.astype(self.sum_type)
        for host_op in self._biases.get(population.name, ()):
            constant += self._on_grid(state.values[host_op], population)
        return constant

    def _scratch(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array in memory that the next call of this method overwrites."""
        size = math.prod(shape)
        if self._memory.size < size:
            self._memory = np.empty(size, dtype)
        return self._memory[:size].reshape(shape)

    def _may_overflow(self, population: Population, target: Target, state: CallState) -> bool:
        """Whether integer currents could leave the chip's width, so that they have to be looked at.

        Raises RunError where they could leave 32 bits, whatever spikes come.
        """
        bound, from_image = float(np.abs(target.constant).max(initial=0)), False
        for projection in self.network.incoming(population.name):
            if projection.shift is not None:
                sent = state.items_of(projection.source).largest
                bound += largest_sum(projection.kernel) * sent * 2.0**projection.shift
            else:
                from_image = True
        if bound > CURRENT_LIMIT:
            raise RunError(
                f"{population.name}: currents could reach {bound:.3g} units, more than the {CURRENT_LIMIT:,} "
                "that a sum may hold; quantise with fewer weight bits"
            )
        most = self.arithmetic.current_limit
        return most < CURRENT_LIMIT and (from_image or bound > most)

    def _check_range(self, population: Population, current: np.ndarray) -> None:
        """Refuse a population whose currents leave the width of the chip's."""
        reached = int(max(current.max(initial=0), -current.min(initial=0)))
        most = self.arithmetic.current_limit
        if reached > most:
            raise RunError(
                f"{population.name}: a current of {reached:,} units; beyond {most:,} the chip's would "
                "wrap. Quantise with fewer weight bits"
            )

    def _on_grid(self, value: np.ndarray, population: Population) -> np.ndarray:
        """What the host computed, as a current of ``population``: in integers, rounded to its unit."""
        if not self.integer:
            return value
        return np.rint(value / self.host_type.type(population.current_unit)).astype(self.sum_type)

    def _part(
        self, projection: Projection, population: Population, state: CallState, target: Target
    ) -> _Part:
        """One projection's contribution to the currents of ``population``."""
        kernel, channels = projection.kernel, projection.target_channels
        current, tasks = target.current, state.tasks
        if projection.step_factor is not None:
            target.fill(channels)
            return _Part(partial(self._project_by_step, projection, projection.step_factor, state, current))
        source = state.items_of(projection.source, state.running.get(population.name))
        scale, bias = self._scaling(projection)
        steps = len(source.values)
        if projection.shift is None and (self.integer or steps != len(current)):
            # what is constant over time, or not in integers yet, is convolved apart
            none = np.empty((0, kernel.c_out), self.host_type)
            value = np.zeros((steps, *current.shape[1:4], kernel.c_out), self.host_type)
            self._projector.apply(Addition(kernel, source, scale, bias, 0, none), value, tasks)
            source = Items(self._on_grid(value, population), False)
            kernel, scale, bias = Kernel(kernel.c_out), *self._unscaled(kernel.c_out)
        addition = Addition(kernel, source, scale, bias, channels[0], target.initial(channels))
        by_rows = addition.by_rows(current) if kernel.is_elementwise else None
        return _Part(partial(self._projector.apply, addition, current, tasks), by_rows)

    def _unscaled(self, channels: int) -> tuple[np.ndarray | int, np.ndarray]:
        """The scaling that changes nothing."""
        one = 0 if self.integer else np.ones(channels, self.sum_type)
        return one, np.zeros(channels, self.sum_type)

    def _scaling(self, projection: Projection) -> tuple[np.ndarray | int, np.ndarray]:
        """What the sums of a projection are multiplied by (or shifted by, in integers) and its bias; kept."""
        if id(projection) not in self._scalings:
            c_out, kind = projection.kernel.c_out, self.host_type
            scale: np.ndarray | int = _vector(projection.scale, c_out, 1.0, kind)
            bias = _vector(projection.bias, c_out, 0.0, kind)
            if projection.shift is not None:
                scale, bias = projection.shift, np.zeros(c_out, self.sum_type)
            self._scalings[id(projection)] = scale, bias
        return self._scalings[id(projection)]

    def _project_by_step(
        self,
        projection: Projection,
        factor: np.ndarray,
        state: CallState,
        current: np.ndarray,
        after: RowWork | None,
    ) -> None:
        """The same for weights with a factor per time step: one step after the other."""
        kernel, first = projection.kernel, projection.target_channels[0]
        values, spiking = state.output_of(projection.source), state.sends_spikes(projection.source)
        scale = _vector(projection.scale, kernel.c_out, 1.0, np.dtype(np.float64))
        for step, own in enumerate(factor):
            bias = None if projection.bias is None else projection.bias[step]
            seen = Items(values[min(step, len(values) - 1)][None], spiking)
            addition = Addition(
                kernel,
                seen,
                (own * scale).astype(self.host_type),
                _vector(bias, kernel.c_out, 0.0, self.host_type),
                first,
                np.empty((0, kernel.c_out), self.sum_type),
            )
            self._projector.apply(addition, current[step][None], state.tasks)
        if after is not None:
            state.tasks.run(rows_of(current).shape[1], after)

    def _neurons(self, population: Population, neuron: NeuronModel, target: Target, state: CallState) -> None:
        """Play the neurons of a population through all time steps."""
        name, current = population.name, target.current
        if population.gate is None:
            self._collect(population, target, state, in_turn(self._update(population, current, state)))
        else:
            self._collect(population, target, state)
            self._update_running(population, neuron, current, state)
        if neuron.signed:
            signs = state.signs[name] = state.spikes[name].view(np.int8)
            state.values[name] = signs * self.sum_type.type(neuron.v_threshold)
            state.spikes[name] = (signs != 0).view(np.uint8)

    def _update(self, population: Population, current: np.ndarray, state: CallState) -> list[RowWork]:
        """What updates neurons and lists their spikes: these are there when it has been done to all rows."""
        name, neuron = population.name, population.neuron
        assert neuron is not None
        out = state.neurons(name, current, np.empty)
        update = neuron_update(neuron, population.unit, self.arithmetic, current, *out)
        return [update] if neuron.signed else [update, *self._listings(name, state.items_of(name))]

    def _update_running(
        self, population: Population, neuron: NeuronModel, current: np.ndarray, state: CallState
    ) -> None:
        """The same at once for neurons with a gate, as if there were no time steps but those they run in."""
        running = state.running[population.name]
        spikes, active, potential = state.neurons(population.name, current, np.zeros)
        for image in range(current.shape[1]):
            steps, alone = np.flatnonzero(running[:, image]), slice(image, image + 1)
            played = tuple(np.ascontiguousarray(a[steps, alone]) for a in (current, spikes, active))
            arrays = (*played, potential[alone])
            update = neuron_update(neuron, population.unit, self.arithmetic, *arrays)
            state.tasks.run(current.shape[2], update)
            spikes[steps, alone], active[steps, alone] = played[1:]

    def _listings(self, name: str, spikes: Items) -> list[RowWork]:
        """What lists the spikes of a population for the projections that want lists."""
        if name not in self._blocks:
            kernels = (p.kernel for p in self._outgoing.get(name, ()))
            wanted = {self._projector.spike_block(kernel, self.sum_type, spikes) for kernel in kernels}
            self._blocks[name] = [block for block in wanted if block is not None]
        return [spikes.listing(block) for block in self._blocks[name]]


@dataclass(frozen=True, eq=False)
class _Part:
    """A projection's contribution to the currents of a population.

    ``run`` adds it, and does what it is given to all rows, to each as soon as it is complete; ``by_rows``
    adds it to some rows, where that is possible.
    """

    run: Callable[[RowWork | None], None]
    by_rows: RowWork | None = None


def _readers(network: Network) -> dict[str, list[Population]]:
    """By stream, the neurons that get it as it is and nothing else: played as it comes into being."""
    readers: dict[str, list[Population]] = {}
    biased = {bias.target for bias in network.biases}
    for population in network.neurons:
        incoming = network.incoming(population.name)
        signed = population.neuron is not None and population.neuron.signed
        alone = len(incoming) == 1 and population.bias is None and population.name not in biased
        if alone and incoming[0].passes_unchanged and population.gate is None and not signed:
            stream = network.population_by_name[incoming[0].source]
            if stream.kind == "analog" and stream.host_op is None and stream.shape == population.shape:
                readers.setdefault(stream.name, []).append(population)
    return readers


def _vector(values: np.ndarray | None, channels: int, default: float, dtype: np.dtype) -> np.ndarray:
    return np.full(channels, default, dtype) if values is None else values.astype(dtype)


def _channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, -3, -1))


def _channels_first(x: np.ndarray) -> np.ndarray:
    *before, height, width, channels = range(x.ndim)
    return x.transpose(*before, channels, height, width)
