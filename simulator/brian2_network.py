"""A whole network in Brian2, every synapse an object: judge of spikes, and rival in speed."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from nsim.frontends.network import Network, Projection
from nsim.frontends.synapses import list_synapses
from nsim.simulator.brian2_reference import update_statement

if TYPE_CHECKING:
    import brian2


def play_network(
    network: Network, x: np.ndarray, numpy_target: bool = True
) -> tuple[dict[str, np.ndarray], float]:
    """Play a network of spiking populations for one input ``x`` [T, 1, C, H, W].

    Returns the spikes of every population, bool [T, C, H, W], and the seconds that Brian2 took for its steps,
    without building and compiling. Brian2 hands spikes on after all thresholds of a step, so a population at
    depth d runs its time step t in Brian2's step t + d. ``numpy_target``: no compiler; otherwise Brian2's own
    choice. Projections must be plain (no scale, no bias), from spikes or, identities, from the image.
    """
    with warnings.catch_warnings():
        # Brian2 2.9 calls names that pyparsing 3.3 renamed
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        import brian2
        from brian2.codegen.runtime.numpy_rt import NumpyCodeObject

        code: dict[str, Any] = {"codeobj_class": NumpyCodeObject} if numpy_target else {}
        dt = 1 * brian2.ms
        steps = network.time_steps
        depth = {p.name: network.depth[p.name] for p in network.neurons}
        rest_after = np.zeros((max(depth.values()) + 1, x[0].size))
        current = brian2.TimedArray(np.concatenate([x.reshape(steps, -1), rest_after]), dt=dt)
        groups, monitors = {}, {}
        for population in network.neurons:
            group = _group(brian2, network, population.name, dt, current, code)
            groups[population.name] = group
            monitors[population.name] = brian2.SpikeMonitor(group, **code)
        spiking = (p for p in network.projections if p.source in groups)
        objects = [_synapses(brian2, network, p, groups, dt, code) for p in spiking]
        net = brian2.Network(*groups.values(), *monitors.values(), *objects)
        duration = (steps + max(depth.values())) * dt
        net.store()
        net.run(duration, namespace={})  # compiles
        net.restore()
        start = time.perf_counter()
        net.run(duration, namespace={})
        seconds = time.perf_counter() - start
        spikes = {}
        for name, monitor in monitors.items():
            fired = np.zeros((steps + max(depth.values()), groups[name].N), bool)
            fired[np.rint(np.asarray(monitor.t / dt)).astype(np.int64), np.asarray(monitor.i)] = True
            shape = network.population_by_name[name].shape
            spikes[name] = fired[depth[name] : depth[name] + steps].reshape(steps, *shape)
        return spikes, seconds


def _group(
    brian2: Any, network: Network, name: str, dt: Any, current: Any, code: dict[str, Any]
) -> brian2.NeuronGroup:
    population = network.population_by_name[name]
    neuron = population.neuron
    assert neuron is not None
    rest = neuron.v_reset or 0.0
    constants = {
        "current": current,
        "rest": rest,
        "v_threshold": neuron.v_threshold,
        "tau": neuron.tau or 1.0,
        "subtract": neuron.soft_reset or 0.0,
    }
    group = brian2.NeuronGroup(
        population.size,
        "v : 1\ndrive : 1",
        threshold="v > v_threshold" if neuron.strict else "v >= v_threshold",
        reset="v = rest" if neuron.soft_reset is None else "v -= subtract",
        dt=dt,
        namespace=constants,
        **code,
    )
    group.v = rest
    from_image = any(p.source == network.image for p in network.incoming(name))
    update = update_statement(neuron, "current(t, i)" if from_image else "drive")
    group.run_regularly(f"{update}\ndrive = 0", when="groups", **code)
    return group


def _synapses(
    brian2: Any,
    network: Network,
    projection: Projection,
    groups: dict[str, Any],
    dt: Any,
    code: dict[str, Any],
) -> brian2.Synapses:
    source, target, weight = list_synapses(network, projection)
    synapses = brian2.Synapses(
        groups[projection.source], groups[projection.target], "w : 1", on_pre="drive_post += w", dt=dt, **code
    )
    synapses.connect(i=source, j=target)
    synapses.w = weight
    return synapses
