"""What one denoiser call would cost at an assumed firing rate, before anything is simulated."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from nsim.frontends.network import Network
from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.spec import Calibration
from nsim.reports.energy import Activity, EnergyReport, price
from nsim.simulator.core_counts import EventCounts
from nsim.simulator.round_counts import counter_of
from nsim.simulator.timing import TickTimes, analytic_times


@dataclass(frozen=True)
class StaticEstimate:
    """One call of one image if every neuron fired with probability ``rate`` at every time step.

    Operations are per time step: ``ac_traced`` and ``mac_traced`` of the model as traced, ``ac_laid_out``
    on the cores, ``mac_host`` what the host still multiplies (per call, divided by T), ``spike_products``
    spikes times spikes, on the host. What a router switches runs in k of N time steps. ``load_ns``: how much
    of ``time_ns`` chips are loaded, where they are shared; ``first_load_ns``: of all chips, once, before the
    first call; None without a figure.
    """

    rate: float
    ac_traced: float
    mac_traced: int
    ac_laid_out: float
    mac_host: float
    spike_products: float
    ticks: int
    time_ns: float
    load_ns: float | None
    first_load_ns: float | None
    report: EnergyReport


def static_estimates(mapping: Mapping, rate: float, calibration: Calibration) -> tuple[StaticEstimate, ...]:
    """Expected cost of one call at an assumed firing rate: of the denoiser, and of a decoder if there is one.

    The chips of both are powered in either call.
    """
    chips = sum(part.chips for part in mapping.parts)
    return tuple(_estimate(part, rate, calibration, chips) for part in mapping.parts)


def _estimate(mapping: Mapping, rate: float, calibration: Calibration, chips: int) -> StaticEstimate:
    counts = counter_of(mapping).expect(rate)
    times = analytic_times(counts, calibration)
    steps = mapping.laid_out.time_steps
    synaptic = counts.per_core["synaptic_event_conv"].sum() + counts.per_core["synaptic_event_dense"].sum()
    traced_ac, traced_mac = traced_operations(mapping.model.network)
    load_ns = calibration.time_ns("config_load")

    def beside(kind: str) -> float:
        return sum(n for (_, event), n in counts.beside.items() if event == kind) / steps

    return StaticEstimate(
        rate=rate,
        ac_traced=rate * traced_ac,
        mac_traced=traced_mac,
        ac_laid_out=float(synaptic) / steps,
        mac_host=beside("host_mac"),
        spike_products=beside("host_spike_product"),
        ticks=mapping.ticks,
        time_ns=float(times.call_ns[0]),
        load_ns=None if load_ns is None else load_ns * mapping.rounds.loads,
        first_load_ns=None if load_ns is None else load_ns * mapping.chips,
        report=price(replace(call_activity(counts, times), chips=chips), calibration),
    )


def call_activity(counts: EventCounts, times: TickTimes) -> Activity:
    """One call of one image as something to price."""
    layer = counts.mapping.layer_of_core
    frames = [
        pd.DataFrame(
            {"layer": layer, "core": np.arange(len(layer)), "event": event, "count": n.sum(axis=(0, 1))}
        )
        for event, n in counts.per_core.items()
    ]
    frames.extend(
        pd.DataFrame({"layer": [name], "core": [None], "event": [event], "count": [float(n)]})
        for (name, event), n in counts.beside.items()
    )
    events = pd.concat(frames, ignore_index=True).assign(sampler_step=0)
    latency = pd.DataFrame({"sampler_step": 0, "time_ns": times.tick_ns[0]})
    return Activity(events, latency, counts.mapping.chips)


def traced_operations(network: Network) -> tuple[int, int]:
    """(spike-driven weight uses with every neuron firing, multiply-accumulates) per time step, as traced.

    What a router switches counts as often as it runs if candidates are selected equally often.
    """
    ac = mac = 0.0
    for projection in network.projections:
        source = network.population_by_name[projection.source]
        target = network.population_by_name[projection.target]
        taps = network.share(target.name) * projection.kernel.taps(source.shape[1:], target.shape[1:])
        if source.kind == "neuron":
            ac += taps
        elif not projection.kernel.is_identity:
            mac += taps
    return round(ac), round(mac) + sum(op.macs for op in network.host_ops if op.every_step)
