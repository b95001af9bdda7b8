"""W1(64), T = 16: a whole small network with counts per core, against torch and Brian2."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np

from nsim.frontends.network import Network
from nsim.reports.bench.measure import Measurement, best_of
from nsim.simulator.engine import Engine
from nsim.workloads.w1 import w1_input, w1_model, w1_network

TIME_STEPS = 16
CHANNELS, BRIAN2_CHANNELS = 64, 8
REPEATS = 9


def w1_64() -> Iterator[Measurement]:
    """Seconds for all spikes and all counts per tick and core; the rival is torch's dense forward pass."""
    from nsim.hw_models.mapping.mapping import map_model
    from nsim.simulator.core_counts import CoreCounter
    from nsim.workloads.w1 import dense_forward

    network = w1_network(CHANNELS, TIME_STEPS)
    x, t = w1_input(network), np.zeros(1, int)
    engine, counter = Engine(network), CoreCounter(map_model(w1_model(network), "loihi"))
    ours, theirs = best_of(REPEATS, lambda: counter.count(engine.call(x, t)), dense_forward(network, x))
    yield Measurement("w1_64", ours, "s", "torch_dense_float32", theirs)
    yield Measurement("w1_64_events", _events(network, x) / ours / 1e6, "Mevent/s", less_is_better=False)


def w1_events() -> Iterator[Measurement]:
    """Synaptic events per second of W1(8); the rival is Brian2, building and compiling left out."""
    network = w1_network(BRIAN2_CHANNELS, TIME_STEPS)
    x, t = w1_input(network), np.zeros(1, int)
    engine = Engine(network)
    (ours,) = best_of(REPEATS, lambda: engine.call(x, t))
    events = _events(network, x) / 1e6
    rival = None
    if importlib.util.find_spec("brian2"):
        from nsim.simulator.brian2_network import play_network

        rival = events / play_network(network, x, numpy_target=False)[1]
    yield Measurement("w1_8_events", events / ours, "Mevent/s", "brian2", rival, less_is_better=False)


def _events(network: Network, x: np.ndarray) -> int:
    return int(Engine(network).call(x, np.zeros(1, int)).counts["ac"].sum())
