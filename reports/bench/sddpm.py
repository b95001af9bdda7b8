"""One call of SDDPM's CIFAR-10 U-Net with all counts per core, against torch's own dense forward pass."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from nsim.frontends.model import Model
from nsim.reports.bench.measure import Measurement, best_of
from nsim.simulator.engine import Engine, Precision

REPEATS = 7
RIVAL = "torch_dense_float32"


@lru_cache(maxsize=1)
def _model() -> Model:
    from nsim.workloads.named import random_model

    return random_model("sddpm-cifar10")


def sddpm_call(precision: Precision) -> Iterator[Measurement]:
    """Seconds of a call with every count per tick and core, and of its spikes alone; T = 4, one image.

    Laid out on Loihi with streams through the host (21,050 cores), row-major; all cores of this machine.
    """
    from nsim.frontends.quantize import quantize
    from nsim.hw_models.mapping.mapping import map_model
    from nsim.simulator.core_counts import CoreCounter
    from nsim.workloads.random_weights import dense_forwards
    from nsim.workloads.sddpm import SDDPMConfig

    model = _model()
    network = quantize(model.network) if precision == "int" else model.network
    engine, counter = Engine(network, precision), CoreCounter(map_model(model, "loihi", "host", "row-major"))
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    t = np.array([500])
    rivals = dense_forwards(SDDPMConfig(), x, t)
    counted, spikes, *theirs = best_of(
        REPEATS, lambda: counter.count(engine.call(x, t)), lambda: engine.call(x, t), *rivals
    )
    yield Measurement(f"sddpm_call_{precision}", counted, "s", RIVAL, min(theirs))
    yield Measurement(f"sddpm_spikes_{precision}", spikes, "s", RIVAL, min(theirs))


def sddpm_memory() -> Iterator[Measurement]:
    """Peak memory of a process that loads the network from its file and calls it; and of its weights.

    The file is written by another process, whose random weights and calibration take memory of their own.
    """
    with TemporaryDirectory() as folder:
        file = str(Path(folder) / "sddpm-cifar10.pt")
        subprocess.run([sys.executable, "-c", SAVE, file], check=True)
        made = subprocess.run([sys.executable, "-c", LOAD, file], check=True, capture_output=True, text=True)
    peak, weights, synapses = json.loads(made.stdout)
    yield Measurement("sddpm_peak_memory", peak / 2**20, "MiB")
    yield Measurement("sddpm_weight_bytes_per_synapse", weights / synapses, "B")


SAVE = """
import sys
import torch
from nsim.workloads.random_weights import random_unet
from nsim.workloads.sddpm import SDDPMConfig
weights = random_unet(SDDPMConfig(), 0).state_dict()
torch.save({"net_model": weights, "optim": {}, "step": 0, "x_T": torch.zeros(1, 3, 32, 32)}, sys.argv[1])
"""
LOAD = """
import json, resource, sys
import numpy as np
import nsim
from nsim.simulator.engine import Engine
network = nsim.load(sys.argv[1]).network
engine = Engine(network)
engine.call(np.zeros((1, 3, 32, 32), np.float32), np.array([500]))
shape = {p.name: p.shape[1:] for p in network.populations}
synapses = sum(p.kernel.taps(shape[p.source], shape[p.target]) for p in network.projections)
if sys.platform == "linux":  # where getrusage begins with the peak of the process that started this one
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    peak = int(status["VmHWM"].split()[0]) * 1024
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([peak, engine.weight_bytes, synapses]))
"""
