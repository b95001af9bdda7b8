"""One denoiser call, layer by layer, all time steps of a layer together.

A barrier-synchronised chip sums what arrives within a tick, so the order inside a tick cannot change a
spike: layers can be played one after the other, exactly, while their weights are in cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nsim.frontends.kernel import Kernel
from nsim.frontends.network import HostOp, Network, NeuronModel, Population, Projection
from nsim.simulator import host_ops
from nsim.simulator.event_kernels import block_values, list_spikes, project, tile_weights, vectors_of
from nsim.simulator.neuron_kernels import IF, LIF, LIF_DECAY_INPUT, update_neurons

if TYPE_CHECKING:
    import pandas as pd

Precision = Literal["float32", "float64"]
TASK_BYTES = 256 * 1024
"""Accumulators of one task: small enough to stay in a core's own cache."""


@dataclass(frozen=True, eq=False)
class Call:
    """What one denoiser call did.

    ``eps`` [B, C, H, W]; ``spikes`` and ``active``: population name to bool [T, B, C, H, W] (active: the
    neuron's state or input was not zero at that step); ``potentials``: the state after the last step
    [B, C, H, W]; ``currents``: input of every neuron [T, B, C, H, W], when asked for.
    """

    network: Network
    eps: np.ndarray
    spikes: dict[str, np.ndarray]
    active: dict[str, np.ndarray]
    potentials: dict[str, np.ndarray]
    currents: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def counts(self) -> pd.DataFrame:
        """Operations per layer and time step of the model as traced; see `algorithm_counts`."""
        from nsim.simulator.algorithm_counts import algorithm_counts

        return algorithm_counts(self)


class Engine:
    """A network made ready to be called: weights tiled once for one arithmetic.

    ``precision``: float32 (fixed order of additions) or float64 (reference). ``threads`` defaults to the
    number of cores; the result does not depend on it.
    """

    def __init__(
        self, network: Network, precision: Precision = "float32", threads: int | None = None
    ) -> None:
        self.network = network
        self.dtype = np.dtype(precision)
        self.threads = threads or os.cpu_count() or 1
        self._weights: dict[int, np.ndarray] = {}

    def call(self, x: np.ndarray, t: np.ndarray, keep_currents: bool = False) -> Call:
        """Play one denoiser call: images ``x`` [B, C, H, W] and diffusion times ``t`` [B] (integers)."""
        network = self.network
        image = network.population_by_name[network.image]
        x, t = np.asarray(x), np.asarray(t)
        if x.shape[1:] != image.shape or t.shape != (len(x),):
            raise ValueError(
                f"{network.name} takes x [B, {', '.join(map(str, image.shape))}] and t [B]; "
                f"got x {list(x.shape)} and t {list(t.shape)}"
            )
        state = _State(t.astype(np.int64))
        state.values[network.image] = _channels_last(x.astype(self.dtype))[None]
        with ThreadPoolExecutor(self.threads) as pool:
            run = _Runner(pool, self.threads)
            for item in network.execution_order:
                if isinstance(item, HostOp):
                    inputs = [state.read(name, item, network, self.dtype) for name in item.inputs]
                    state.values[item.name] = host_ops.evaluate(item, inputs, self.dtype)
                elif item.kind != "source":
                    self._population(item, state, run, keep_currents)
        return Call(
            network=network,
            eps=_channels_first(state.values[network.output])[0],
            spikes={k: _channels_first(v).view(bool) for k, v in state.spikes.items()},
            active={k: _channels_first(v).view(bool) for k, v in state.active.items()},
            potentials={k: _channels_first(v) for k, v in state.potentials.items()},
            currents={k: _channels_first(v) for k, v in state.currents.items()},
        )

    def _population(self, population: Population, state: _State, run: _Runner, keep: bool) -> None:
        c, h, w = population.shape
        batch, steps = len(state.times), self.network.time_steps
        current = np.zeros((steps, batch, h, w, c), self.dtype)
        if population.bias is not None:
            current += population.bias.astype(self.dtype)
        for projection in self.network.incoming(population.name):
            self._project(projection, state, current, run)
        for bias in self.network.biases:
            if bias.target == population.name:
                current += state.values[bias.host_op][None, :, None, None, :]
        if population.neuron is None:
            state.values[population.name] = current
            return
        if keep:
            state.currents[population.name] = current
        self._update(population.name, population.neuron, current, state, run)

    def _project(self, projection: Projection, state: _State, current: np.ndarray, run: _Runner) -> None:
        """Add one projection's contribution to ``current`` [T, B, H, W, C]."""
        kernel, first = projection.kernel, projection.target_channels[0]
        if (
            kernel.is_identity
            and kernel.upsample == 1
            and projection.scale is None
            and projection.bias is None
        ):
            current[..., first : first + kernel.c_out] += state.output_of(projection.source)
            return
        scale = _vector(projection.scale, kernel.c_out, 1.0, self.dtype)
        bias = _vector(projection.bias, kernel.c_out, 0.0, self.dtype)
        weights = self._tiles(kernel)
        source = state.output_of(projection.source)
        # A source that is constant over time is convolved once and added at every step.
        constant = source.shape[0] != current.shape[0]
        shape = (source.shape[0], *current.shape[1:])
        target = np.zeros(shape, self.dtype) if constant else current
        flat = target.reshape(-1, *target.shape[2:])
        height, width = flat.shape[1:3]
        row_bytes = len(flat) * width * weights.shape[-1] * self.dtype.itemsize
        rows = max(1, min(-(-height // run.threads), TASK_BYTES // row_bytes))
        tasks = weights.shape[0] * -(-height // rows)
        items, count = state.items_of(projection.source, weights.shape[4])

        def work(a: int, b: int) -> None:
            project(
                a,
                b,
                rows,
                items,
                count,
                weights,
                scale,
                bias,
                flat,
                first,
                kernel.stride,
                kernel.padding,
                kernel.dilation,
                kernel.upsample,
                vectors_of(weights),
            )

        run.tasks(tasks, work)
        if constant:
            current += target

    def _tiles(self, kernel: Kernel) -> np.ndarray:
        if id(kernel) not in self._weights:
            groups = kernel.channels if kernel.is_identity else kernel.groups
            self._weights[id(kernel)] = tile_weights(kernel.array, groups, self.dtype)
        return self._weights[id(kernel)]

    def _update(
        self, name: str, neuron: NeuronModel, current: np.ndarray, state: _State, run: _Runner
    ) -> None:
        steps, batch, height, width, channels = current.shape
        spikes = np.empty(current.shape, np.uint8)
        active = np.empty(current.shape, np.uint8)
        potential = np.empty(current.shape[1:], self.dtype)
        rows = (steps, batch * height, width, channels)
        code = IF if neuron.tau is None else LIF_DECAY_INPUT if neuron.decay_input else LIF
        reset = 0.0 if neuron.v_reset is None else neuron.v_reset
        run.tasks(
            batch * height,
            lambda a, b: update_neurons(
                a,
                b,
                current.reshape(rows),
                code,
                neuron.tau or 1.0,
                neuron.v_threshold,
                reset,
                neuron.v_reset is None,
                spikes.reshape(rows),
                active.reshape(rows),
                potential.reshape(rows[1:]),
            ),
        )
        state.spikes[name], state.active[name], state.potentials[name] = spikes, active, potential


class _State:
    """Values of one call as they come into being, channels last: maps [T, B, H, W, C], features [B, F]."""

    def __init__(self, times: np.ndarray) -> None:
        self.times = times
        self.values: dict[str, np.ndarray] = {}
        self.spikes: dict[str, np.ndarray] = {}
        self.active: dict[str, np.ndarray] = {}
        self.potentials: dict[str, np.ndarray] = {}
        self.currents: dict[str, np.ndarray] = {}
        self._items: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}

    def read(self, name: str, op: HostOp, network: Network, dtype: np.dtype) -> np.ndarray:
        """Value of an input of a host op; what is constant over time is seen at each of its steps."""
        if name == network.diffusion_time:
            return self.times
        value = self.spikes[name].astype(dtype) if name in self.spikes else self.values[name]
        if op.every_step:
            value = np.broadcast_to(value, (network.time_steps, *value.shape[1:]))
        return value

    def output_of(self, name: str) -> np.ndarray:
        """Spikes or analog values of a population [T, B, H, W, C]."""
        return self.spikes[name] if name in self.spikes else self.values[name]

    def items_of(self, name: str, block: int) -> tuple[np.ndarray, np.ndarray]:
        """Spike lists, or blocked values, of a population: made once per block size."""
        if (name, block) not in self._items:
            listing = list_spikes if name in self.spikes else block_values
            source = self.output_of(name)
            self._items[name, block] = listing(source.reshape(-1, *source.shape[2:]), block)
        return self._items[name, block]


class _Runner:
    """Hands tasks to threads that take the next chunk when they are free; numba kernels drop the GIL."""

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self.pool = pool
        self.threads = threads

    def tasks(self, count: int, work: Callable[[int, int], Any]) -> None:
        """Call ``work(first, last)`` over all of range(count), in chunks."""
        if self.threads == 1 or count == 1:
            work(0, count)
            return
        chunk = max(1, count // (4 * self.threads))
        bounds = [(a, min(count, a + chunk)) for a in range(0, count, chunk)]
        for done in [self.pool.submit(work, a, b) for a, b in bounds]:
            done.result()


def _vector(values: np.ndarray | None, channels: int, default: float, dtype: np.dtype) -> np.ndarray:
    return np.full(channels, default, dtype) if values is None else values.astype(dtype)


def _channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, -3, -1))


def _channels_first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, -3)
