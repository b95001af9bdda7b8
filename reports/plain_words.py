"""A run in plain words: what dominates and why, what is counted and what is a published figure."""

from __future__ import annotations

from typing import Any

from nsim.reports.causes import group_of
from nsim.reports.energy import energy_figures
from nsim.reports.run import Run
from nsim.units import NS_PER_MS, PJ_PER_UJ

STREAMS = {
    "expand": "become synapses from all the spikes they are made of",
    "host": "travel through the host",
}
"""What becomes of residual streams, by mapping policy."""
WORTH_A_SENTENCE = 0.02
"""Share of the energy from which a group of causes is explained."""


def lead(run: Run, per_call: dict[str, Any]) -> str:
    """The answer in two sentences."""
    m, denoiser = run.manifest, run.denoiser
    low, high = (pj / denoiser.calls / PJ_PER_UJ for pj in denoiser.uncertainty().interval_pj)
    decoded = "" if run.decoder is None else f" and {run.images} of the decoder"
    return (
        f"One denoiser call of one image costs {_uj(per_call['energy_pj'])} and "
        f"{per_call['time_ns'] / NS_PER_MS:,.3f} ms on {m['chips']} {run.chip.title} "
        f"chip{'s' if m['chips'] > 1 else ''}; the published ranges of the figures put the energy between "
        f"{low:,.0f} and {high:,.0f} uJ (90 %). The whole run of {denoiser.calls} calls{decoded}: "
        f"{_uj(run.report.total_pj)}."
    )


def dominates(run: Run, per_call: dict[str, Any]) -> list[str]:
    """One sentence for each group of causes that matters, the largest first, with its reason."""
    causes = run.report.by_cause()
    groups = causes.groupby(causes["cause"].map(group_of))["energy_pj"].sum().sort_values(ascending=False)
    total = run.report.total_pj
    reasons = _reasons(run, per_call)
    return [
        f"{pj / total:.0%} {name}: {reasons[name]}"
        for name, pj in groups.items()
        if pj / total >= WORTH_A_SENTENCE
    ]


def _reasons(run: Run, per_call: dict[str, Any]) -> dict[str, str]:
    """Why each group of causes costs what it does in this run."""
    m, denoiser = run.manifest, run.denoiser
    count = denoiser.report.by_cause().set_index("cause")["count"] / denoiser.calls
    traced, laid_out = per_call["as_traced"], per_call["as_laid_out"]
    times = laid_out["ac"] / traced["ac"] if traced["ac"] else float("nan")
    ticks = count.get("barrier", 0.0)
    idle = count.get("update_idle", 0.0)
    updates = idle + count.get("update_active", 0.0)
    products = count.get("host_spike_product", 0.0)
    hops = count.get("hop_x", 0.0) + count.get("hop_y", 0.0)
    power = {name: floor.power_mw.value for name, floor in run.calibration.floor.items()}

    def drawn(name: str) -> str:
        return (
            f"{m['chips']} chip(s) draw {power.get(name) or 0:g} mW each for the "
            f"{per_call['time_ns'] / NS_PER_MS:,.2f} ms of a call, whatever the neurons do."
        )

    return {
        "synaptic events": (
            f"{laid_out['ac'] / 1e6:,.1f} M accumulates a call, {times:.2f} times the "
            f"{traced['ac'] / 1e6:,.1f} M of the model as traced. Residual streams are real numbers; here "
            f"they {STREAMS[m['policy']]}."
        ),
        "neuron updates, active": f"{updates - idle:,.0f} updates a call had something to do.",
        "neuron updates, idle": (
            f"cores visit every neuron in each of {ticks:,.0f} ticks; {idle:,.0f} of {updates:,.0f} visits "
            "find nothing to do."
        ),
        "spikes": f"{count.get('spike', 0.0):,.0f} spikes a call.",
        "packets and hops": (
            f"{count.get('packet_out', 0.0):,.0f} packets a call travel {hops:,.0f} hops; each destination "
            "core gets its own."
        ),
        "barrier": f"{ticks:,.0f} barriers a call.",
        "state reset": f"the state of {m['chips']} chip(s) is cleared before every call.",
        "host work": (
            f"the host does {count.get('host_mac', 0.0):,.0f} multiply-accumulates"
            + (f", {products:,.0f} products of spikes" if products else "")
            + f" and {count.get('host_elementwise', 0.0):,.0f} elementwise operations a call "
            "that no core can do."
        ),
        "host transfers": "values go between the host and the cores.",
        "embedded processor": drawn("embedded_processor"),
        "static power": drawn("static"),
    }


def against_the_papers(per_call: dict[str, Any]) -> str:
    """The chip beside the papers' rule and the ANN twin."""
    rule, twin = per_call["papers_rule_energy_pj"], per_call["ann_twin_papers_rule_energy_pj"]
    text = (
        "The papers' 45 nm rule, which prices accumulates and multiply-accumulates alone, gives the same "
        f"call {_uj(rule)}: the chip pays {per_call['energy_pj'] / rule:,.0f} times that."
    )
    if twin is None:
        return text
    return (
        f"{text} By the rule the spiking model would need {rule / twin:.0%} of its ANN twin's {_uj(twin)}; "
        f"what the chip pays is {per_call['energy_pj'] / twin:,.1f} times the twin's."
    )


def latency_words(run: Run) -> str:
    """What time is spent on."""
    latency = run.latency()
    total, barrier = latency["time_ns"].sum(), latency["barrier_ns"].sum()
    by_layer = latency.groupby("busiest_layer")["time_ns"].sum().sort_values(ascending=False)
    left_out = ", ".join(run.times_left_out).replace("_", " ") or "nothing"
    return (
        f"{barrier / total:.1%} of the time cores wait for each other at barriers; the rest a tick lasts as "
        f"long as its busiest core, which belongs to {by_layer.index[0]} for "
        f"{by_layer.iloc[0] / total:.0%} of the time. No published time, so left out: {left_out}."
    )


def trust(run: Run) -> list[str]:
    """What is fact, what is a figure from a source, what is an assumption, what is missing."""
    result, m = run.uncertainty(), run.manifest
    confidence = confidence_shares(run)
    shares = ", ".join(f"{share:.0%} {level}" for level, share in confidence.items())
    unknown = "; ".join(f"{c.replace('_', ' ')}: {why.rstrip('.')}" for c, why in result.unknown.items())
    timed = {
        "analytic": "by closed formulas, as if no packet ever waited: a lower bound",
        "event": "packet by packet through the mesh",
        "cycle": "packet by packet through routers with finite buffers",
    }
    return [
        f"Counted, exact{_where_exact(run)}: spikes, synaptic events, updates, packets, hops and host "
        f"operations of this model, these weights ({m['model']['weights']}) and this noise.",
        f"Estimated: the time of a tick, {timed.get(m['timing'], m['timing'])}.",
        "Published figures, not measured here: every energy and time of an event. By how far their sources "
        f"can be trusted, the energy rests on: {shares} (H: read in a primary source, M: a careful secondary "
        "one, L: a weak one).",
        f"With a published range: {', '.join(result.tornado['causes']).replace('_', ' ') or 'no figure'}. "
        f"Without one, taken as they are: {', '.join(result.without_range).replace('_', ' ')}. The interval "
        "is therefore at least as wide as shown.",
        f"Unknown, in no total: {unknown or 'nothing'}.",
        f"Without any line in the chip file: {', '.join(run.report.uncosted) or 'nothing'}.",
    ]


def _where_exact(run: Run) -> str:
    """Which sampler steps were measured, where not all were, and what is said of the others."""
    if run.all_measured:
        return ""
    total = run.extrapolation().iloc[0]
    steps = f"{len(run.measured_steps)} of {run.manifest['sampler_steps']} sampler steps"
    within = (
        "how far they are from it is unknown with one step measured"
        if total["low"] is None
        else f"the run's energy {_uj(total['low'])} to {_uj(total['high'])} by this alone, 95 %"
    )
    return f" at {steps}, the others taken to be as their nearest measured one ({within})"


def confidence_shares(run: Run) -> dict[str, float]:
    """Share of the energy by the confidence of the figure that prices it, H, M and L."""
    figures = energy_figures(run.calibration)
    causes = run.report.by_cause()
    level = causes["cause"].map({c: f.confidence for c, f in figures.items() if f.value is not None})
    shares = causes["energy_pj"].groupby(level).sum() / run.report.total_pj
    return {name: float(shares[name]) for name in ("H", "M", "L") if name in shares}


def _uj(energy_pj: float) -> str:
    return (
        f"{energy_pj / PJ_PER_UJ:,.0f} uJ"
        if energy_pj >= 10 * PJ_PER_UJ
        else f"{energy_pj / PJ_PER_UJ:.3g} uJ"
    )
