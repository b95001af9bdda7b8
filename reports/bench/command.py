"""Which benchmarks there are, and the table that `nsim bench` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from rich.table import Table

from nsim.errors import BenchError
from nsim.reports.bench.dvs import loihi_dvs
from nsim.reports.bench.kernels import accumulate_rates
from nsim.reports.bench.measure import Measurement
from nsim.reports.bench.noc import noc_cycle, noc_event
from nsim.reports.bench.sddpm import sddpm_call, sddpm_memory
from nsim.reports.bench.shell import shell
from nsim.reports.bench.w1 import w1_64, w1_events

BENCHMARKS: dict[str, Callable[[], Iterator[Measurement]]] = {
    "sddpm_call_float32": partial(sddpm_call, "float32"),
    "sddpm_call_int": partial(sddpm_call, "int"),
    "sddpm_memory": sddpm_memory,
    "ac_float32": partial(accumulate_rates, "float32"),
    "ac_int": partial(accumulate_rates, "int"),
    "noc_event_8x8": partial(noc_event, 8),
    "noc_event_16x16": partial(noc_event, 16),
    "noc_cycle_8x8": partial(noc_cycle, 8),
    "loihi_dvs_1000": loihi_dvs,
    "w1_64": w1_64,
    "w1_8_events": w1_events,
    "shell": shell,
}


def run_benchmarks(names: Iterable[str], started: Callable[[str], None]) -> list[Measurement]:
    """Run the named benchmarks, or all; ``started(name)`` is called before each.

    Raises BenchError for a name that is not one.
    """
    chosen = list(names) or list(BENCHMARKS)
    for name in chosen:
        if name not in BENCHMARKS:
            raise BenchError(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    found: list[Measurement] = []
    for name in chosen:
        started(name)
        found.extend(BENCHMARKS[name]())
    return found


def bench_table(measurements: list[Measurement]) -> Table:
    """One row per measurement."""
    table = Table("benchmark", "value", "unit", "rival", "its value", "ratio")
    for i in (1, 4, 5):
        table.columns[i].justify = "right"
    for m in measurements:
        rival = (
            "" if m.rival is None else "not installed" if m.rival_value is None else f"{m.rival_value:.4g}"
        )
        ratio = "" if m.ratio is None else f"{m.ratio:.3g}"
        table.add_row(
            m.name, "n/a" if m.value is None else f"{m.value:.4g}", m.unit, m.rival or "", rival, ratio
        )
    return table
