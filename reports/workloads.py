"""Every workload beside every other: its size, what a call computes, its energy by every rule, on every chip.

Nothing is played: operations are those of an assumed firing rate, the same for all (`nsim.reports.estimate`).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nsim.frontends.model import Model
from nsim.frontends.network import Network
from nsim.hw_models.catalog import cost_rule_names, load_any_chip, load_cost_rule
from nsim.hw_models.mapping.policies import POLICIES, why_unsupported
from nsim.reports.conventions import CONVENTIONS, work_of
from nsim.reports.cost import PROGRAM_BYTES, Cost
from nsim.reports.estimate import traced_operations
from nsim.reports.footprint import Footprint, footprint
from nsim.reports.released_models import RELEASED, ReleasedModel
from nsim.reports.traced_layers import traced_layers
from nsim.workloads.lateral import LateralConfig
from nsim.workloads.named import NAMED
from nsim.workloads.samplers import parse_sampler
from nsim.workloads.sddpm import SDDPMConfig

UNET_S = 20.0
"""To load a U-Net of the CIFAR-10 model's size, or to lay it out on one chip; it grows with the pixels."""
UNET_BYTES = 0.8e9
OTHER_S = 3.0
Progress = Callable[[int, int], None]
Load = Callable[[str], Model]


@dataclass(frozen=True)
class WorkloadRow:
    """One network of a workload; per call of one image unless said otherwise.

    ``names``: of the workload, and of those that differ from it in nothing but their name. ``part``:
    denoiser, or the decoder that is called once at the end. ``calls``: of one image. ``parameters``: of the
    whole model, None in the decoder's row. ``synapses``: connections from spiking neurons as traced, each its
    own, taps on padding left out. ``ac`` and ``mac``: accumulates at the assumed rate, and
    multiply-accumulates of real numbers, as traced. ``spike_products``: products of spikes with spikes
    (attention), if all of them fired. ``energy_pj``: by the letter of each counting convention. ``chips``:
    see `_first_that_fits`.
    """

    names: tuple[str, ...]
    part: str
    workload: str
    weights: str
    time_steps: int
    calls: int
    parameters: int | None
    neurons: int
    synapses: int
    ac: float
    mac: int
    spike_products: int
    energy_pj: dict[str, float]
    chips: tuple[Footprint, ...]


@dataclass(frozen=True)
class TwinRow:
    """The ANN twin of workloads: ``energy_pj`` of one evaluation by each cost rule that prices a MAC."""

    names: tuple[str, ...]
    parameters: int | None
    mac: int
    energy_pj: dict[str, float]


@dataclass(frozen=True)
class WorkloadTable:
    """All rows at one assumed firing ``rate``, and other people's models by what they released."""

    rate: float
    rows: tuple[WorkloadRow, ...]
    twins: tuple[TwinRow, ...]
    released: tuple[ReleasedModel, ...]

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "assumed_firing_rate": self.rate,
            "workloads": [asdict(row) for row in self.rows],
            "ann_twins": [asdict(row) for row in self.twins],
            "released_models": [model.facts(self.rate) for model in self.released],
        }


def table_cost(groups: Sequence[tuple[str, ...]], chips: Sequence[str]) -> Cost:
    """Estimated time and memory of `workload_table`."""
    sizes = [size for names in groups if (size := _size(NAMED.get(names[0]))) is not None]
    seconds = (UNET_S * sum(sizes) + OTHER_S * (len(groups) - len(sizes))) * (1 + len(chips))
    return Cost(seconds, PROGRAM_BYTES + UNET_BYTES * max(sizes, default=0.0))


def _size(config: object) -> float | None:
    """How large a network is beside the U-Net of the CIFAR-10 model; None where it hardly counts."""
    if isinstance(config, SDDPMConfig):
        return (config.image_size / 32) ** 2 * config.channels / 128
    if isinstance(config, LateralConfig):  # three times its weights, at the paper's size
        return 3 * config.depth / 12 * (config.width / 768) ** 2
    return None


def workload_table(
    groups: Sequence[tuple[str, ...]],
    chips: Sequence[str],
    rate: float,
    load: Load,
    progress: Progress | None = None,
) -> WorkloadTable:
    """Load one model of each group of equal ones, and cost it; the larger ones take a minute and more.

    ``progress(done, all)`` is called after every chip of every model.
    """
    rows: list[WorkloadRow] = []
    twins: dict[tuple[int, int | None], tuple[str, ...]] = {}
    done, total = 0, len(groups) * len(chips)

    def one_done() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    for names in groups:
        model = load(names[0])
        if model.ann_twin_macs is not None:
            key = model.ann_twin_macs, model.ann_twin_parameters
            twins[key] = twins.get(key, ()) + names
        rows.extend(_rows(names, model, chips, rate, one_done))
        del model
        gc.collect()  # networks hold cycles, and weights of a quarter of a gigabyte
    return WorkloadTable(rate, tuple(rows), tuple(_twin(n, *key) for key, n in twins.items()), RELEASED)


def _rows(
    names: tuple[str, ...], model: Model, chips: Sequence[str], rate: float, one_done: Callable[[], None]
) -> list[WorkloadRow]:
    parts = [part for part in (replace(model, decoder=None), model.decoder_alone) if part is not None]
    costs: list[list[Footprint]] = [[] for _ in parts]
    for chip in chips:
        for part, found in zip(parts, costs, strict=True):
            found.append(_first_that_fits(part, chip, rate))
        one_done()
    calls = parse_sampler(model.sampler).steps if model.sampler else 1
    denoiser = _row(names, "denoiser", parts[0], calls, rate, costs[0])
    decoders = [
        _row(names, "decoder", part, 1, rate, found) for part, found in zip(parts[1:], costs[1:], strict=True)
    ]
    return [replace(denoiser, parameters=model.parameters), *decoders]


def _row(
    names: tuple[str, ...], part: str, model: Model, calls: int, rate: float, chips: list[Footprint]
) -> WorkloadRow:
    network, rule = model.network, load_cost_rule("ann45")
    ac, mac = traced_operations(network)
    work = work_of(traced_layers(network), network.time_steps)
    return WorkloadRow(
        names=names,
        part=part,
        workload=model.workload,
        weights=model.weights,
        time_steps=network.time_steps,
        calls=calls,
        parameters=None,
        neurons=sum(population.size for population in network.neurons),
        synapses=_synapses(network),
        ac=rate * ac * network.time_steps,
        mac=mac * network.time_steps + _macs_once(network),
        spike_products=sum(op.dense_products for op in network.host_ops) * network.time_steps,
        energy_pj={c.letter: c.energy_pj(work, rate, rule) for c in CONVENTIONS},
        chips=tuple(chips),
    )


def _synapses(network: Network) -> int:
    """Connections from spiking neurons; those of candidates that a router does not select too."""
    shapes = {p.name: p.shape[1:] for p in network.populations}
    fed = [p for p in network.projections if network.population_by_name[p.source].kind == "neuron"]
    return sum(p.kernel.taps(shapes[p.source], shapes[p.target]) for p in fed)


def _macs_once(network: Network) -> int:
    """Multiply-accumulates of what the host works out once per call."""
    return sum(op.macs for op in network.host_ops if not op.every_step)


def _first_that_fits(model: Model, chip: str, rate: float) -> Footprint:
    """By the first policy that fits; else why ``host``, which asks least of cores, or the first does not."""
    loaded, refused = load_any_chip(chip), {}
    for policy in POLICIES:
        if why_unsupported(policy, loaded) is None:
            refused[policy] = found = footprint(model, chip, policy, rate)
            if not found.refused:
                return found
    return refused["host"] if "host" in refused else next(iter(refused.values()))


def _twin(names: tuple[str, ...], macs: int, parameters: int | None) -> TwinRow:
    rules = {name: load_cost_rule(name).mac_pj.value for name in cost_rule_names()}
    energy = {name: macs * mac_pj for name, mac_pj in rules.items() if mac_pj is not None}
    return TwinRow(names, parameters, macs, energy)
