"""1000 steps of the DVS-gesture network on Loihi, with every count and time, against SANA-FE."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from nsim.reports.bench.measure import Measurement, best_of

STEPS = 1000
REPEATS = 5
WEIGHTS = "NSIM_DVS_WEIGHTS"
"""Environment variable with the path of the network's npz file; SANA-FE's own example file otherwise."""


def loihi_dvs() -> Iterator[Measurement]:
    """Seconds for all spikes, all counts per step and core, and the closed formulas' times of 1000 steps.

    SANA-FE plays the same steps with its "simple" timing, which is the same formulas. Building, on either
    side, is left out. The value is None where there is no file of weights.
    """
    from nsim.hw_models.catalog import load_chip
    from nsim.simulator.engine import Engine
    from nsim.simulator.listed_counts import listed_counts
    from nsim.simulator.timing import analytic_times
    from nsim.workloads.dvs_gesture import dvs_mapping, dvs_network

    weights = _weights()
    if weights is None:
        yield Measurement("loihi_dvs_1000", None, "s", "sanafe")
        return
    network, frame = dvs_network(weights, STEPS)
    chip = load_chip("loihi")
    mapping, engine = dvs_mapping(network, chip), Engine(network)
    calibration, t = chip.calibration("boardfit"), np.zeros(1, int)

    def run() -> None:
        analytic_times(listed_counts(mapping, engine.call(frame, t), STEPS), calibration)

    (ours,) = best_of(REPEATS, run)
    yield Measurement("loihi_dvs_1000", ours, "s", "sanafe", _sanafe(weights))


def _weights() -> Path | None:
    if WEIGHTS in os.environ:
        return Path(os.environ[WEIGHTS])
    if importlib.util.find_spec("sanafe"):
        return Path(str(files("sanafe.examples") / "dvs_challenge.npz"))
    return None


def _sanafe(weights: Path) -> float | None:
    """Seconds of SANA-FE for the same steps; None where it is not installed."""
    if importlib.util.find_spec("sanafe") is None:
        return None
    import sanafe

    chip = sanafe.SpikingChip(sanafe.load_loihi())
    chip.load(_sanafe_network(sanafe, weights))
    with _written_to_stderr():
        start = time.perf_counter()
        chip.sim(STEPS, timing_model="simple")
        return time.perf_counter() - start


@contextmanager
def _written_to_stderr() -> Iterator[None]:
    """What compiled code writes to standard output goes to standard error: SANA-FE's progress among JSON."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


def _sanafe_network(sanafe: Any, weights: Path) -> Any:
    """The same network in SANA-FE's objects, each layer dealt to as many cores as in `dvs_mapping`."""
    from sanafe import layers

    from nsim.workloads.dvs_gesture import CORES

    with np.load(weights) as file:
        arrays = dict(file)
    threshold = [int(v) for v in arrays["thresholds"]]
    network = sanafe.Network()
    stack = [layers.Input2D(network, 32, 32, 1, threshold=threshold[0])]
    for i, name in enumerate(("conv1", "conv2", "conv3", "conv4"), 1):
        stride = 2 if i == 1 else 1
        stack.append(
            layers.Conv2D(
                network,
                stack[-1],
                arrays[name],
                stride_width=stride,
                stride_height=stride,
                threshold=threshold[i],
            )
        )
    stack.append(layers.Dense(network, stack[-1], 11, arrays["dense1"], threshold=threshold[5]))
    cores = [core for tile in sanafe.load_loihi().tiles for core in tile.cores]
    first = 0
    for layer, count in zip(stack, CORES, strict=True):
        for i in range(len(layer)):
            neuron = layer[i]
            bias = {"bias": float(arrays["inputs"][i])} if layer is stack[0] else {}
            neuron.set_attributes(
                soma_hw_name="loihi_lif", default_synapse_hw_name="loihi_dense_synapse", model_attributes=bias
            )
            neuron.map_to_core(cores[first + min(i // (len(layer) // count), count - 1)])
        first += count
    return network
