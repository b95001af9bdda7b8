"""What a command will take, said before it starts: time and memory, estimated from the network's size.

The rates below were measured with the bundled model and with SDDPM at CIFAR-10 size on one core of a small
virtual machine, at a firing rate of `RATE`; another machine may be two or three times faster or slower.
The memory figures hold to about a fifth. Both are labelled estimates wherever they are shown.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from nsim.errors import RunError
from nsim.frontends.model import Model
from nsim.frontends.network import Network
from nsim.hw_models.mapping.mapping import Mapping
from nsim.reports.detail_steps import parse_detail_steps
from nsim.reports.estimate import traced_operations
from nsim.reports.quality import BATCH
from nsim.simulator.core_counts import CORE_EVENTS
from nsim.workloads.samplers import build_sampler, parse_sampler

RATE = 0.25
"""Spikes per neuron and time step that is assumed; the bundled model has 0.26."""
AC_PER_S = 5e9
ELEMENTS_PER_S = 60e6
"""Elements of all populations that are brought one time step further."""
CORE_TICKS_PER_S = 0.4e6
"""Cores times ticks of one sampler step, written and priced once for all images..."""
COUNTED_CORE_TICKS_PER_S = 2e6
"""...and counted for each image."""
PACKETS_PER_S = 4e6
"""Packets followed through the mesh (event timing)."""
AC_PER_PACKET = 20
"""Synaptic operations as traced for one packet, of the bundled model on Loihi."""
START_S = 6.0
"""Imports, loading and mapping."""

PROGRAM_BYTES = 480e6
"""torch, numba, pandas, once loaded."""
WEIGHT_BYTES = 8
"""Each weight is held as read and as the kernels take it."""
ELEMENT_BYTES = 12
"""Input, spikes and activity of one element at one time step, and what counting makes of them."""
COUNT_BYTES = 9
"""One count of an event, and its part of what is made of it."""
ROW_BYTES = 120
"""One row of a priced table."""

GB = 1e9


@dataclass(frozen=True)
class Size:
    """What time and memory depend on: per time step ``ac`` (every neuron firing) and ``elements``."""

    ac: int
    elements: int
    weights: int
    cores: int
    depth: int
    layerwise: bool = False

    @classmethod
    def of(cls, network: Network, mapping: Mapping | None = None) -> Size:
        """Size of a network, and of its mapping where there is one."""
        return cls(
            ac=traced_operations(network)[0],
            elements=sum(population.size for population in network.populations),
            weights=sum(
                math.prod(p.kernel.weight.shape) for p in network.projections if p.kernel.weight is not None
            ),
            cores=0 if mapping is None else mapping.core_count,
            depth=max(network.depth.values()),
            layerwise=mapping is not None and mapping.schedule == "layerwise",
        )


@dataclass(frozen=True)
class Cost:
    """Estimated time on one thread, and peak memory of one process."""

    seconds: float
    bytes: float

    def __str__(self) -> str:
        return f"about {_time(self.seconds)}, {self.bytes / GB:.1f} GB of memory (estimate)"


REPRODUCE = Cost(60.0, 4e9)
"""Measured: `nsim reproduce sddpm-table3`, whose networks are always the same."""

TRAINING = {
    "lateral-digits": Cost(0.15, 0.7e9),
    "sddpm-digits": Cost(0.44, 1.0e9),
    "sdm-digits": Cost(0.46, 1.1e9),
    "spiking-diffusion-digits": Cost(0.09, 0.7e9),
}
"""Measured: one iteration of what `nsim train` makes, on two idle cores."""


def training_cost(name: str, iterations: int) -> Cost:
    """Cost of ``iterations`` iterations of a bundled model's training."""
    each = TRAINING[name]
    return replace(each, seconds=START_S + iterations * each.seconds)


def call_cost(size: Size, time_steps: int, images: int, calls: int) -> Cost:
    """Cost of ``calls`` denoiser calls with ``images`` images each, nothing counted."""
    per_image = RATE * size.ac * time_steps / AC_PER_S + size.elements * time_steps / ELEMENTS_PER_S
    memory = PROGRAM_BYTES + WEIGHT_BYTES * size.weights + ELEMENT_BYTES * size.elements * time_steps * images
    return Cost(calls * images * per_image, memory)


def run_cost(
    size: Size, time_steps: int, sampler_steps: int, measured_steps: int, images: int, timing: str
) -> Cost:
    """Cost of a run: every sampler step played, ``measured_steps`` of them counted and timed on the chip."""
    played = call_cost(size, time_steps, images, sampler_steps)
    core_ticks = size.cores * (time_steps + size.depth * (time_steps if size.layerwise else 1))
    per_step = core_ticks / CORE_TICKS_PER_S + images * core_ticks / COUNTED_CORE_TICKS_PER_S
    if timing == "event":
        per_step += images * RATE * size.ac * time_steps / AC_PER_PACKET / PACKETS_PER_S
    counts = COUNT_BYTES * len(CORE_EVENTS) * core_ticks * images
    rows = ROW_BYTES * len(CORE_EVENTS) * size.cores * sampler_steps
    return Cost(START_S + played.seconds + measured_steps * per_step, played.bytes + max(counts, rows))


def quality_cost(model: Model, sampler: str | None, images: int) -> Cost:
    """Cost of generating ``images`` images to measure their quality, a batch at a time."""
    calls = -(-images // BATCH) * parse_sampler(sampler or model.sampler).steps
    return call_cost(Size.of(model.network), model.network.time_steps, min(BATCH, images), calls)


def check_run(mapping: Mapping, sampler: str | None, images: int, timing: str, detail_steps: str) -> Cost:
    """Cost of a run as asked for; RunError, with the way out, where memory cannot hold it.

    A decoder adds the time of its one call; its memory is taken at its own, not at the same time.
    """
    walk, _ = build_sampler(sampler, 0, mapping.model)
    steps = len(walk.timesteps)
    calls = [(steps, len(parse_detail_steps(detail_steps, steps))), (1, 1)][: len(mapping.parts)]

    def cost_of(images: int) -> Cost:
        costs = [
            run_cost(Size.of(network, part), network.time_steps, played, measured, images, timing)
            for part, (played, measured) in zip(mapping.parts, calls, strict=True)
            for network in (part.played,)
        ]
        seconds = sum(cost.seconds for cost in costs) - START_S * (len(costs) - 1)
        return Cost(seconds, max(cost.bytes for cost in costs))

    return refuse_images(cost_of, images, available_bytes())


def check_reproduce() -> Cost:
    """Cost of the networks of SDDPM's Table 3; RunError where memory cannot hold them."""
    free = available_bytes()
    if REPRODUCE.bytes > free:
        raise RunError(
            f"sddpm-table3: its network of 67 million weights needs about {REPRODUCE.bytes / GB:.1f} GB of "
            f"memory (estimate), {free / GB:.1f} GB are free; it takes a machine with more"
        )
    return REPRODUCE


def refuse_images(cost_of: Callable[[int], Cost], images: int, free: float) -> Cost:
    """Cost of ``images`` images; RunError, with the number that fits, where ``free`` bytes are too few."""
    cost = cost_of(images)
    if cost.bytes <= free:
        return cost
    one, two = cost_of(1).bytes, cost_of(2).bytes
    fit = int((free - one) // (two - one)) + 1 if one <= free else 0
    way_out = f"--images {fit} fits" if fit else "not even one fits: fewer sampler steps, or more memory"
    raise RunError(
        f"{images} image(s) at a time need about {cost.bytes / GB:.1f} GB of memory (estimate), "
        f"{free / GB:.1f} GB are free; {way_out}"
    )


def available_bytes() -> float:
    """Memory that a process may still take: of the machine, or of its control group if that is less."""
    limits = [float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")]
    memory = Path("/proc/meminfo")
    if memory.is_file():
        rows = dict(line.split(":") for line in memory.read_text().splitlines())
        limits.append(1024.0 * int(rows["MemAvailable"].split()[0]))
    group = Path("/sys/fs/cgroup")
    try:
        limits.append(
            float((group / "memory.max").read_text()) - float((group / "memory.current").read_text())
        )
    except (OSError, ValueError):  # no such group, or the word "max"
        pass
    return min(limits)


def _time(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, round(seconds))} s"
