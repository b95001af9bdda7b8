"""Brian2 as the independent judge of the neurons: its own threshold and reset decide every spike."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from nsim.errors import RunError
from nsim.frontends.network import NeuronModel
from nsim.simulator.call import Call

if TYPE_CHECKING:
    import pandas as pd


def play(neuron: NeuronModel, currents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Play ``currents`` [T, N] (float64, one neuron per column) in Brian2.

    Returns spikes (bool) and potentials (float64), both [T, N]; a potential is the state carried on, after
    reset. Each step: the update of NeuronModel as a `run_regularly` statement, then Brian2's threshold,
    then its reset (Stimberg et al., eLife 2019, doi 10.7554/eLife.47314). Runs on Brian2's numpy target
    whatever its preferences say.
    """
    with warnings.catch_warnings():
        # Brian2 2.9 calls names that pyparsing 3.3 renamed
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        import brian2
        from brian2.codegen.runtime.numpy_rt import NumpyCodeObject

        dt = 1 * brian2.ms
        constants = {
            "current": brian2.TimedArray(currents, dt=dt),
            "rest": neuron.v_reset or 0.0,
            "v_threshold": neuron.v_threshold,
            "tau": neuron.tau or 1.0,
            "subtract": neuron.soft_reset or 0.0,
        }
        group = brian2.NeuronGroup(
            currents.shape[1],
            "v : 1",
            threshold="v > v_threshold" if neuron.strict else "v >= v_threshold",
            reset="v = rest" if neuron.soft_reset is None else "v -= subtract",
            dt=dt,
            namespace=constants,
            codeobj_class=NumpyCodeObject,
        )
        group.v = constants["rest"]
        group.run_regularly(
            update_statement(neuron, "current(t, i)"), when="groups", codeobj_class=NumpyCodeObject
        )
        fired = brian2.SpikeMonitor(group, codeobj_class=NumpyCodeObject)
        state = brian2.StateMonitor(group, "v", record=True, when="end", dt=dt, codeobj_class=NumpyCodeObject)
        brian2.Network(group, fired, state).run(len(currents) * dt, namespace={})
        spikes = np.zeros(currents.shape, bool)
        spikes[np.rint(np.asarray(fired.t / dt)).astype(np.int64), np.asarray(fired.i)] = True
        return spikes, np.array(state.v).T


def check_call(call: Call, per_layer: int = 64, seed: int = 0) -> pd.DataFrame:
    """Play the input currents of some neurons of every layer of ``call`` in Brian2 and compare.

    ``call`` must be float64 and hold its currents: ``Engine(network, "float64").call(x, t,
    keep_currents=True)``; ValueError otherwise. ``per_layer`` neurons of each layer (all, when it has
    fewer) are drawn over images, channels and positions. Returns one row per layer, in order of execution:
    layer, neuron_model, neurons, spikes (of the call, in the sample), spike_differences (neuron and step),
    max_potential_error (after the last step, absolute). Layers of one neuron model share one Brian2 run.
    What a router switches is played as if there were no time steps but those it runs in.
    """
    import pandas as pd

    layers = {p.name: p.neuron for p in call.network.neurons if p.neuron is not None}
    missing = [n for n in layers if n not in call.currents or call.currents[n].dtype != np.float64]
    if missing:
        raise ValueError(
            f"{call.network.name}: layer {missing[0]!r} has no float64 currents to play in Brian2; "
            'make the call with Engine(network, "float64").call(x, t, keep_currents=True)'
        )
    for name, neuron in layers.items():
        if neuron.signed:
            raise RunError(
                f"{call.network.name}: {name} sends signed spikes, for which Brian2 has no threshold; "
                "nsim.simulate plays them"
            )
    rng = np.random.default_rng(seed)
    sampled = {
        name: np.sort(rng.choice(size, min(per_layer, size), replace=False))
        for name, size in ((name, call.potentials[name].size) for name in layers)
    }
    rows = {}
    for model in dict.fromkeys(layers.values()):
        names = [name for name in layers if layers[name] == model]
        currents = [_columns(call.currents[n], sampled[n], _turns(call, n, sampled[n])) for n in names]
        played = play(model, np.hstack(currents))
        cuts = np.cumsum([len(sampled[n]) for n in names])[:-1]
        for name, spikes, v in zip(names, *(np.split(a, cuts, axis=1) for a in played), strict=True):
            turns = _turns(call, name, sampled[name])
            found, steps = _columns(call.spikes[name], sampled[name], turns), turns.sum(axis=0)
            differs = (found != spikes) & (np.arange(len(v))[:, None] < steps)
            last = v[np.maximum(steps, 1) - 1, np.arange(len(steps))]
            error = np.abs(call.potentials[name].reshape(-1)[sampled[name]] - last)
            rows[name] = (name, model.kind, len(steps), found.sum(), differs.sum(), error.max())
    columns = ["layer", "neuron_model", "neurons", "spikes", "spike_differences", "max_potential_error"]
    return pd.DataFrame([rows[name] for name in layers], columns=columns)


def update_statement(neuron: NeuronModel, current: str) -> str:
    """One step of NeuronModel in Brian2's language; ``current``: an expression for the input."""
    if neuron.tau is None:
        return f"v = v + {current}"
    if neuron.decay_input:
        return f"v = v + ({current} - (v - rest)) / tau"
    return f"v = v - (v - rest) / tau + {current}"


def _turns(call: Call, name: str, at: np.ndarray) -> np.ndarray:
    """When chosen neurons (flat indices over [B, C, H, W]) of a layer run: bool [T, neurons]."""
    if name not in call.running:
        return np.ones((len(call.spikes[name]), len(at)), bool)
    return call.running[name][:, at // call.potentials[name][0].size]


def _columns(values: np.ndarray, at: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Chosen neurons of values [T, B, C, H, W]: [T, neurons], the steps in which they run first."""
    order = np.argsort(~turns, axis=0, kind="stable")
    return np.take_along_axis(values.reshape(len(values), -1)[:, at], order, axis=0)
