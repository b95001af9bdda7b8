"""From shell to shell: what a user waits for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from nsim.reports.bench.measure import Measurement, best_of

REPEATS = 3
SMALL_SIMULATION = """
import numpy as np
import nsim  # sets where compiled kernels are kept
from nsim.simulator.engine import Engine
from nsim.workloads.w1 import w1_input, w1_network
network = w1_network(8, 4)
Engine(network).call(w1_input(network), np.zeros(1, int))
"""


def shell() -> Iterator[Measurement]:
    """Seconds of `nsim --help`, and of a small simulation in a new process with compiled kernels cached."""
    for name, arguments in (
        ("cli_help", ["-m", "nsim", "--help"]),
        ("cli_small_simulation", ["-c", SMALL_SIMULATION]),
    ):
        command = partial(subprocess.run, [sys.executable, *arguments], check=True, capture_output=True)
        (seconds,) = best_of(REPEATS, command)
        yield Measurement(name, seconds, "s")
