"""How papers turn counts into energy: named conventions, each a straight line in the firing rate.

All of them charge 4.6 pJ for a multiply-accumulate (MAC) and 0.9 pJ for an accumulate (AC), 45 nm, count
convolutions dense with their padding, and price one denoiser call of one image. They differ in what is a MAC
and what an AC, and so in the rate at which they give the same energy. SDDPM states B; which one its numbers
follow its text does not say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from nsim.errors import RunError
from nsim.hw_models.spec import CostRule


@dataclass(frozen=True)
class Work:
    """What one call of one image would compute if every input were dense; counts per time step.

    ``first_macs``: convolutions of the image; ``analog_macs``: other convolutions of real numbers
    (shortcuts, tail); ``spike_macs``: convolutions of spikes, at a rate of 1; ``linear_macs``: linear
    layers, once per call; ``conv_outputs``: elements that convolutions put out; ``norm_elements`` and
    ``neurons``: likewise.
    """

    time_steps: int
    first_macs: int
    analog_macs: int
    spike_macs: int
    linear_macs: int
    conv_outputs: int
    norm_elements: int
    neurons: int


def work_of(layers: pd.DataFrame, time_steps: int) -> Work:
    """Add up `traced_layers`."""
    convs = layers[layers["kind"] == "conv"]
    macs = convs.groupby("input")["dense_macs"].sum()
    return Work(
        time_steps=time_steps,
        first_macs=int(macs.get("image", 0)),
        analog_macs=int(macs.get("analog", 0)),
        spike_macs=int(macs.get("spikes", 0)),
        linear_macs=int(layers.loc[layers["kind"] == "linear", "dense_macs"].sum()),
        conv_outputs=int(convs["elements"].sum()),
        norm_elements=int(layers["norm_elements"].sum()),
        neurons=int(layers.loc[layers["kind"].isin(["IF", "LIF"]), "elements"].sum()),
    )


@dataclass(frozen=True)
class Convention:
    """``operations(work, rate)`` gives (AC, MAC) of one call at a mean firing rate."""

    letter: str
    name: str
    title: str
    operations: Callable[[Work, float], tuple[float, float]]

    def energy_pj(self, work: Work, rate: float, rule: CostRule) -> float:
        """Energy of one call of one image at a firing rate (weighted by dense operations)."""
        mac_pj, ac_pj = rule.mac_pj.value, rule.ac_pj.value
        assert mac_pj is not None and ac_pj is not None
        ac, mac = self.operations(work, rate)
        return ac_pj * ac + mac_pj * mac

    def implied_rate(self, work: Work, energy_pj: float, rule: CostRule) -> float:
        """The firing rate at which this convention gives ``energy_pj``."""
        silent, full = (self.energy_pj(work, rate, rule) for rate in (0.0, 1.0))
        return (energy_pj - silent) / (full - silent)


def _spikes_only(w: Work, rate: float) -> tuple[float, float]:
    return w.time_steps * rate * w.spike_macs, 0.0


def _stated(w: Work, rate: float) -> tuple[float, float]:
    return w.time_steps * rate * (w.spike_macs + w.analog_macs), float(w.first_macs)


def _by_input(w: Work, rate: float) -> tuple[float, float]:
    analog = w.time_steps * (w.first_macs + w.analog_macs)
    return w.time_steps * rate * w.spike_macs, analog + w.linear_macs


def _syops(w: Work, rate: float) -> tuple[float, float]:
    ac, mac = _by_input(w, rate)
    return ac + w.time_steps * (w.conv_outputs + w.neurons), mac + w.time_steps * 2 * w.norm_elements


def _non_zero(w: Work, rate: float) -> tuple[float, float]:
    return w.time_steps * (rate * w.spike_macs + w.analog_macs), float(w.first_macs)


CONVENTIONS = (
    Convention("A", "spikes-only", "spike-fed convolutions as AC, nothing else", _spikes_only),
    Convention(
        "B",
        "sddpm-paper",
        "the stated rule: first convolution once as MAC, all others as AC at the firing rate",
        _stated,
    ),
    Convention(
        "C",
        "by-input",
        "convolutions of real numbers and linear layers as MAC, spike-fed ones as AC",
        _by_input,
    ),
    Convention(
        "C'",
        "syops",
        "C, and an AC per convolution's bias and per neuron update, two MAC per norm element",
        _syops,
    ),
    Convention("D", "non-zero", "B, but real-valued inputs count as AC without a zero among them", _non_zero),
)
"""The conventions by letter and name; check values for SDDPM's CIFAR-10 model are in the tests."""


def find_convention(name: str) -> Convention:
    """A convention by its letter or name; RunError for another."""
    for convention in CONVENTIONS:
        if name in (convention.letter, convention.name):
            return convention
    known = ", ".join(f"{c.letter} ({c.name})" for c in CONVENTIONS)
    raise RunError(f"no counting convention {name!r}; known: {known}")


def mean_rate(layers: pd.DataFrame, rates: dict[str, float]) -> float:
    """Firing rate over spike-fed convolutions, by their dense operations; ``rates`` by population."""
    fed = layers[(layers["kind"] == "conv") & (layers["input"] == "spikes")]
    return float((fed["source"].map(rates) * fed["dense_macs"]).sum() / fed["dense_macs"].sum())
