"""What the chip files predict for published measurements of silicon, side by side; nothing is fitted here.

Only what a model of neuro-cores can be asked: no embedded processor, no input and output, no idle board.
Where the published counts leave a range (how many neurons were active, how many inputs spiked), so does the
prediction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table

from nsim.hw_models.catalog import load_any_chip, load_chip
from nsim.hw_models.cores.loihi2 import conv_cores
from nsim.hw_models.spec import Costs, CrossbarChip, PoolChip
from nsim.units import PJ_PER_MJ

NJ_PER_PJ = 1e-3
MW_PER_PJ_PER_S = 1e-9


@dataclass(frozen=True)
class Comparison:
    """A measured quantity and the range that a calibration predicts for it; None where it has no figure.

    ``source``: key of references.bib. ``note``: what the range comes from, and what else must be known.
    """

    target: str
    measured: float
    unit: str
    source: str
    calibration: str
    low: float | None
    high: float | None
    note: str

    @property
    def errors(self) -> tuple[float, float] | None:
        """Relative errors of the two ends of the prediction."""
        if self.low is None or self.high is None:
            return None
        return self.low / self.measured - 1, self.high / self.measured - 1


def silicon() -> list[Comparison]:
    """All comparisons, target by target and calibration by calibration."""
    return [*_nearest_neighbours(), *_sequential_mnist(), *_scaled_networks(), *_pilotnet(), *_truenorth()]


def _nearest_neighbours() -> Iterator[Comparison]:
    """Frady et al. 2020: 667 to 750 input spikes reach all 76,800 neurons, which are visited in 60 steps."""
    neurons, steps, spikes = 76_800, 60, (667, 750)
    for name, costs in load_chip("loihi").calibrations.items():
        event, idle = costs.energy_pj("synaptic_event_dense"), costs.energy_pj("update_idle")
        low, high = ((n * event + steps * idle) * neurons / PJ_PER_MJ for n in spikes)  # type: ignore[operator]
        yield Comparison(
            "k-NN search on Pohoiki Springs, neuro-cores",
            1.33,
            "mJ per query",
            "frady2020neuromorphic",
            f"loihi {name}",
            low,
            high,
            "667 to 750 input spikes; every update taken as idle; packets not counted",
        )


def _sequential_mnist() -> Iterator[Comparison]:
    """LSNN of 330 compartments: 1.58 mW of cores over 16.65 us per step."""
    compartments, measured_nj = 330, 1.58 * 16.65
    for name, costs in load_chip("loihi").calibrations.items():
        low, high = (
            compartments * costs.energy_pj(event) * NJ_PER_PJ  # type: ignore[operator]
            for event in ("update_idle", "update_active")
        )
        yield Comparison(
            "sequential MNIST LSNN, neuro-cores",
            measured_nj,
            "nJ per step",
            "intel_nrc_models",
            f"loihi {name}",
            low,
            high,
            "all updates idle to all active; spikes not published, so synaptic events are not in it",
        )


def _scaled_networks() -> Iterator[Comparison]:
    """Slope of power over copies of ten layers of 256: 1.88 mW per 2560 neurons at 1140 steps/s.

    The firing rate was not logged, so there is nothing to predict from: the note says which rate would do.
    """
    fan_out, measured_pj = 256, 1.88 / (2560 * 1140 * MW_PER_PJ_PER_S)
    for name, costs in load_chip("loihi").calibrations.items():
        spike = sum(
            times * (costs.energy_pj(event) or 0.0)
            for event, times in (("spike", 1), ("packet_out", 1), ("synaptic_event_dense", fan_out))
        )
        rate = (measured_pj - costs.energy_pj("update_active")) / spike  # type: ignore[operator]
        yield Comparison(
            "layers of 256, slope over copies",
            measured_pj,
            "pJ per neuron and step",
            "blouw2019benchmarking",
            f"loihi {name}",
            None,
            None,
            f"the firing rate was not logged; all neurons active, {rate:.1%} of them firing would give it",
        )


def _pilotnet() -> Iterator[Comparison]:
    """Loihi 2: energy of a frame has no figure to be priced with; cores of the convolutions follow a rule."""
    chip = load_any_chip("loihi2")
    assert isinstance(chip, PoolChip)
    layers = ((200, 66, 3), (99, 32, 24), (49, 15, 36), (24, 7, 48), (22, 4, 64), (20, 2, 64))
    cores = float(sum(conv_cores(*layer, chip.core) for layer in layers))
    yield Comparison(
        "PilotNet SNN, input and convolutions",
        13 + 25 + 13 + 3 + 3 + 2,
        "cores",
        "lava_dl",
        "loihi2 storage rule",
        cores,
        cores,
        "the rule was read off these tables; 15 more cores hold the dense layers",
    )
    yield Comparison(
        "PilotNet SNN, dynamic energy",
        1.094,
        "mJ per frame",
        "lava_dl",
        "loihi2 unpublished",
        None,
        None,
        "no energy of any event of Loihi 2 is published",
    )


TRUENORTH_POWERS = ((11.58, 68.0, "fitted"), (20.07, 71.0, "held out"), (95.93, 94.0, "fitted"))
"""Mean firing rate in Hz, power in mW at 0.8 V and 128 active synapses, part in the chip file's line."""


def _truenorth() -> Iterator[Comparison]:
    """Power of the whole chip at three firing rates, as floor plus events plus hops."""
    chip = load_any_chip("truenorth")
    assert isinstance(chip, CrossbarChip)
    neurons = chip.cores * chip.core.neurons.value
    for name, costs in chip.all_costs.items():
        for rate, measured, part in TRUENORTH_POWERS:
            power = truenorth_power_mw(rate, 128, costs, neurons)
            yield Comparison(
                f"recurrent networks at {rate:g} Hz",
                measured,
                "mW",
                "akopyan2015truenorth",
                f"truenorth {name}",
                power,
                power,
                f"{part}; 128 synapses, 21.3 hops in x and in y per spike",
            )


def truenorth_power_mw(rate_hz: float, synapses: int, costs: Costs, neurons: int) -> float:
    """Power of a TrueNorth chip whose neurons fire at ``rate_hz`` and reach so many ``synapses`` each."""
    floor = sum(part.power_mw.charge or 0.0 for part in costs.floor.values())
    hop = (costs.energy_pj("hop_x") or 0.0) + (costs.energy_pj("hop_y") or 0.0)
    spike_pj = synapses * (costs.energy_pj("synaptic_event_dense") or 0.0) + 21.3 * hop
    return floor + rate_hz * neurons * spike_pj * MW_PER_PJ_PER_S


COLUMNS = ("target", "measured", "calibration", "predicted", "error", "what to know", "source")


def silicon_rows() -> list[tuple[str, ...]]:
    """The comparisons as text, in the order of ``COLUMNS``."""
    rows: list[tuple[str, ...]] = []
    for c in silicon():
        predicted, error = "unknown", ""
        if c.errors is not None:
            predicted, error = _range(c.low, c.high, "{:.3g}"), _range(*c.errors, "{:+.1%}")
        measured = f"{c.measured:.3g} {c.unit}"
        rows.append((c.target, measured, c.calibration, predicted, error, c.note, c.source))
    return rows


def _range(low: float | None, high: float | None, form: str) -> str:
    first, last = form.format(low), form.format(high)
    return first if first == last else f"{first} to {last}"


def silicon_tables() -> list[Table | str]:
    """What `nsim silicon` prints."""
    table = Table(*COLUMNS, title="Predictions beside silicon")
    for row in silicon_rows():
        table.add_row(*row)
    return [table, "Neuro-cores only: no embedded processor, no input and output, no idle board."]


def silicon_markdown() -> str:
    """The same table for the documentation page."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *silicon_rows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
