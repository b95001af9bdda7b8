"""A paper's energy table again: its numbers, ours by every convention, and the chip beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from nsim.errors import MappingError
from nsim.frontends.lower import lower
from nsim.frontends.model import Model
from nsim.frontends.network import Network
from nsim.hw_models.catalog import load_chip, load_cost_rule
from nsim.hw_models.mapping.expand import expand
from nsim.hw_models.mapping.mapping import map_model
from nsim.hw_models.mapping.policies import Policy
from nsim.hw_models.spec import Calibration
from nsim.reports.conventions import CONVENTIONS, Work, mean_rate, work_of
from nsim.reports.energy import price
from nsim.reports.estimate import call_activity
from nsim.reports.traced_layers import traced_layers
from nsim.simulator.call import Call
from nsim.simulator.core_counts import CoreCounter
from nsim.simulator.engine import Engine
from nsim.simulator.timing import analytic_times
from nsim.units import NS_PER_MS, PJ_PER_MJ
from nsim.workloads.random_weights import WEIGHTS, random_unet
from nsim.workloads.samplers import initial_noise
from nsim.workloads.sddpm import SDDPMConfig
from nsim.workloads.twin import TwinCounts, twin_counts

SDDPM_TABLE3_MJ = {4: 10.97, 8: 22.96}
"""SDDPM (WACV 2024), Table 3, CIFAR-10: energy by time steps."""
SDDPM_TABLE3_ANN_MJ = 29.23
DIFFUSION_TIME = 500
POLICIES: tuple[Policy, ...] = ("expand", "host")
"""How residual streams travel, in the order tried: as synapses from earlier spikes, through the host."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """One denoiser call of one image at ``work.time_steps``: what it computes, how often it fires, the chip.

    ``rate``: spikes per neuron and time step over spike-fed convolutions, weighted by their operations.
    """

    work: Work
    rate: float
    chip: ChipCost


@dataclass(frozen=True)
class ChipCost:
    """Energy and time of the call on the chip, and how residual streams had to travel to fit it.

    ``policy``: the first of `POLICIES` that fits; None where none does: then ``energy_pj`` prices synaptic
    events and idle neurons alone, at the chip's lowest figures, a lower bound, and there is no time.
    ``refusal``: why the first policy does not fit; ``ac``: accumulates as laid out; ``unknown``: causes that
    are in no total; ``untimed``: events whose time no source gives.
    """

    energy_pj: float
    ac: float
    policy: Policy | None
    cores: int | None
    chips: int | None
    time_ns: float | None
    unknown: tuple[str, ...]
    untimed: tuple[str, ...]
    refusal: str | None


def evaluate(config: SDDPMConfig, chip: str, seed: int) -> Evaluation:
    """Play one call of a network of this size with calibrated random weights, and cost it."""
    shape = (config.image_channels, config.image_size, config.image_size)
    network = lower(random_unet(config, seed), shape, config.time_steps, "sddpm")
    call = Engine(network, "float32").call(initial_noise((1, *shape), seed), np.array([DIFFUSION_TIME]))
    layers = traced_layers(network)
    rates = {name: float(spikes.mean()) for name, spikes in call.spikes.items()}
    work = work_of(layers, config.time_steps)
    return Evaluation(work, mean_rate(layers, rates), chip_cost(network, call, chip))


def chip_cost(network: Network, call: Call, chip_name: str) -> ChipCost:
    """What the call costs on a chip with its default calibration, cores placed row by row."""
    calibration = load_chip(chip_name).calibration()
    model = Model(network.name, "sddpm", network, WEIGHTS, "ddim:50", "", 0)
    refusals: list[str] = []
    for policy in POLICIES:
        try:
            mapping = map_model(model, chip_name, policy, "row-major")
        except MappingError as refusal:
            refusals.append(str(refusal))
            continue
        counts = CoreCounter(mapping).count(call)
        times = analytic_times(counts, calibration)
        report = price(call_activity(counts, times), calibration)
        return ChipCost(
            energy_pj=report.total_pj,
            ac=sum(float(n.sum()) for e, n in counts.per_core.items() if e.startswith("synaptic_event")),
            policy=policy,
            cores=mapping.core_count,
            chips=mapping.chips,
            time_ns=float(times.call_ns[0]),
            unknown=tuple(report.unknown),
            untimed=times.left_out,
            refusal=refusals[0] if refusals else None,
        )
    return _least_cost(network, call, calibration, refusals[0])


def _least_cost(network: Network, call: Call, calibration: Calibration, refusal: str) -> ChipCost:
    """Synaptic events of the expanded network and an idle update of every neuron in every tick."""
    laid_out = expand(network)
    ac = _synaptic_events(laid_out, call)
    ticks = laid_out.time_steps + max(laid_out.depth.values())
    neurons = sum(p.size for p in laid_out.neurons)
    events = ("synaptic_event_conv", "synaptic_event_dense", "synaptic_event_sparse")
    prices = [pj for e in events if (pj := calibration.energy_pj(e))]
    energy = ac * min(prices) + ticks * neurons * (calibration.energy_pj("update_idle") or 0.0)
    return ChipCost(energy, ac, None, None, None, None, (), (), refusal)


def _synaptic_events(laid_out: Network, call: Call) -> int:
    """Synapses that the call's spikes reach; the copies of an up-sampled spike share theirs."""
    events = 0
    for p in laid_out.projections:
        if p.source in call.spikes:
            size, target = (laid_out.population_by_name[end].shape[1:] for end in (p.source, p.target))
            rows, columns = ((p.kernel.reach(i, size[i], target[i]) > 0).sum(axis=0) for i in (0, 1))
            fired = call.spikes[p.source].sum(axis=(0, 1, 2), dtype=np.int64)
            groups = p.kernel.channels if p.kernel.is_identity else p.kernel.groups
            events += int(rows @ fired @ columns) * (p.kernel.c_out // groups)
    return events


def sddpm_table3(chip: str, seed: int, progress: Progress | None = None) -> dict[str, Any]:
    """The facts behind `nsim reproduce sddpm-table3`: energies in pJ, one denoiser call of one image."""
    rule = load_cost_rule("ann45")
    evaluations = {}
    for done, steps in enumerate(SDDPM_TABLE3_MJ, start=1):
        evaluations[steps] = evaluate(SDDPMConfig(time_steps=steps), chip, seed)
        if progress is not None:
            progress(done, len(SDDPM_TABLE3_MJ))
    return {
        "paper": {
            "ann_energy_pj": SDDPM_TABLE3_ANN_MJ * PJ_PER_MJ,
            "energy_pj": {str(steps): mj * PJ_PER_MJ for steps, mj in SDDPM_TABLE3_MJ.items()},
        },
        "ann_twin": _twin_facts(twin_counts(SDDPMConfig()), rule.mac_pj.value or 0.0),
        "weights": WEIGHTS,
        "seed": seed,
        "firing_rate": {str(steps): e.rate for steps, e in evaluations.items()},
        "conventions": [
            {
                "letter": c.letter,
                "name": c.name,
                "title": c.title,
                "implied_rate": {
                    str(steps): c.implied_rate(e.work, SDDPM_TABLE3_MJ[steps] * PJ_PER_MJ, rule)
                    for steps, e in evaluations.items()
                },
                "energy_pj": {str(s): c.energy_pj(e.work, e.rate, rule) for s, e in evaluations.items()},
            }
            for c in CONVENTIONS
        ],
        "chip": {
            "name": chip,
            "calibration": load_chip(chip).default_calibration,
            "call": {str(steps): asdict(e.chip) for steps, e in evaluations.items()},
        },
    }


def _twin_facts(twin: TwinCounts, mac_pj: float) -> dict[str, float]:
    return {
        "convolutions_pj": mac_pj * twin.conv_macs,
        "every_mac_pj": mac_pj * twin.macs,
        "every_mac_and_bias_pj": mac_pj * (twin.macs + twin.conv_outputs),
    }


def table3_tables(facts: dict[str, Any]) -> list[Table | str]:
    """What `nsim reproduce sddpm-table3` prints."""
    steps = list(facts["paper"]["energy_pj"])
    paper, rates = facts["paper"], facts["firing_rate"]
    ann = Table("ANN twin, every MAC 4.6 pJ", "mJ", title="SDDPM Table 3, CIFAR-10: one call of one image")
    ann.add_row("paper", _mj(paper["ann_energy_pj"]))
    for name, energy in facts["ann_twin"].items():
        ann.add_row(name.removesuffix("_pj").replace("_", " "), _mj(energy))
    columns = [f"{what} T={s}" for s in steps for what in ("rate implied", f"mJ at {rates[s]:.3f}")]
    table = Table(
        "SNN by convention", *columns, title="The paper's SNN energies, and ours by each convention"
    )
    table.add_row("paper", *(cell for s in steps for cell in ("", _mj(paper["energy_pj"][s]))))
    for c in facts["conventions"]:
        cells = ((f"{c['implied_rate'][s]:.3f}", _mj(c["energy_pj"][s])) for s in steps)
        table.add_row(f"{c['letter']}  {c['title']}", *(cell for pair in cells for cell in pair))
    for t in (ann, table):
        for column in t.columns[1:]:
            column.justify = "right"
    return [ann, table, _explain(facts), *_chip_lines(facts)]


def _explain(facts: dict[str, Any]) -> str:
    rates = ", ".join(f"{rate:.3f} (T={s})" for s, rate in facts["firing_rate"].items())
    return (
        "rate implied: the mean firing rate at which a convention gives the paper's energy; the paper "
        f"publishes none.\nOur energies are at the rates we measure, {rates}, of a network of the paper's "
        f"size whose weights are {facts['weights']} (seed {facts['seed']}); a trained one may fire otherwise."
    )


def _chip_lines(facts: dict[str, Any]) -> list[str]:
    chip, lines = facts["chip"], []
    for s, call in chip["call"].items():
        where = f"{chip['name']} ({chip['calibration']}), T={s}"
        ac = f"{call['ac'] / 1e9:,.2f} G accumulates as laid out"
        if call["policy"] is None:
            lines.append(
                f"{where}: more than {_mj(call['energy_pj'])} mJ: {ac} and idle neurons alone, no packets, "
                f"no floor.\n  It cannot be simulated whole: {call['refusal']}"
            )
            continue
        lines.append(
            f"{where}: {_mj(call['energy_pj'])} mJ, {call['time_ns'] / NS_PER_MS:,.2f} ms, {ac} on "
            f"{call['cores']:,} cores of {call['chips']} chips; residual streams: {call['policy']}; "
            f"simulated, same random weights.\n  In no total: {', '.join(call['unknown']) or 'nothing'}; "
            f"untimed: {', '.join(call['untimed']) or 'nothing'}."
            + (f"\n  {POLICIES[0]} does not fit: {call['refusal']}" if call["refusal"] else "")
        )
    return lines


def _mj(energy_pj: float) -> str:
    return f"{energy_pj / PJ_PER_MJ:,.2f}"
