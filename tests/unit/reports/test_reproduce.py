"""Reproducing a paper's table, at a size that a test can play."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nsim.errors import MappingError
from nsim.frontends.lower import lower
from nsim.frontends.model import Model
from nsim.hw_models.mapping.mapping import Mapping, map_model
from nsim.hw_models.mapping.place import Order
from nsim.hw_models.mapping.policies import Policy
from nsim.reports import reproduce
from nsim.reports.reproduce import chip_cost, evaluate, sddpm_table3, table3_tables
from nsim.reports.run_sampler import run_sampler
from nsim.simulator.engine import Engine
from nsim.workloads.random_weights import random_unet
from nsim.workloads.samplers import initial_noise, parse_sampler
from nsim.workloads.sddpm import SDDPMConfig
from tests.networks import model_of

SMALL = SDDPMConfig(1, image_size=8, channels=8, channel_multipliers=(1, 2), blocks_per_level=1)


def test_calibrated_weights_fire_and_come_from_the_seed() -> None:
    first, again, other = (evaluate(SMALL, "loihi", seed) for seed in (0, 0, 1))
    assert 0.05 < first.rate < 0.5
    assert first == again
    assert other.rate != first.rate


def test_on_the_chip_it_is_the_run_of_one_call() -> None:
    network = lower(random_unet(SMALL, 3), (1, 8, 8), 4, "small")
    time = int(parse_sampler("ddim:1").build(0).timesteps[0])
    run = run_sampler(map_model(model_of(network, "ddim:1"), "loihi", order="row-major"), seed=3, threads=1)
    call = Engine(network, "float32", threads=1).call(initial_noise((1, 1, 8, 8), 3), np.array([time]))
    cost = chip_cost(network, call, "loihi")
    assert (cost.refusal, cost.policy, cost.chips) == (None, "expand", 1)
    assert cost.time_ns == pytest.approx(run.latency()["time_ns"].sum())
    assert cost.energy_pj == pytest.approx(run.report.total_pj, rel=1e-12)


def test_what_does_not_fit_gives_a_lower_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(SMALL, "loihi", 0).chip

    def refuse(*_: object) -> None:
        raise MappingError("too large")

    monkeypatch.setattr(reproduce, "map_model", refuse)
    bound = evaluate(SMALL, "loihi", 0).chip
    assert bound.refusal == "too large"
    assert 0 < bound.energy_pj < whole.energy_pj
    assert bound.ac == whole.ac


def test_streams_go_through_the_host_where_synapses_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = reproduce.map_model

    def refuse(model: Model, chip: str, policy: Policy, order: Order) -> Mapping:
        if policy == "expand":
            raise MappingError("too large")
        return fits(model, chip, policy, order)

    monkeypatch.setattr(reproduce, "map_model", refuse)
    cost = evaluate(SMALL, "loihi", 0).chip
    assert (cost.policy, cost.refusal) == ("host", "too large")
    assert "host_read" in cost.unknown


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(reproduce, "SDDPMConfig", lambda time_steps=4: replace(SMALL, time_steps=time_steps))
    return sddpm_table3("loihi", seed=0)


def test_facts(facts: dict[str, Any]) -> None:
    assert facts["paper"] == {
        "ann_energy_pj": pytest.approx(29.23e9),
        "energy_pj": {"4": pytest.approx(10.97e9), "8": pytest.approx(22.96e9)},
    }
    assert [c["letter"] for c in facts["conventions"]] == ["A", "B", "C", "C'", "D"]
    for convention in facts["conventions"]:
        for steps in ("4", "8"):
            assert math.isfinite(convention["implied_rate"][steps]) and convention["energy_pj"][steps] > 0
    assert [call["refusal"] for call in facts["chip"]["call"].values()] == [None, None]


def test_weights_are_labelled(facts: dict[str, Any]) -> None:
    text = " ".join(str(part) for part in table3_tables(facts))
    assert "whose weights are random, BatchNorm statistics calibrated on noise; not trained (seed 0)" in text
    assert "simulated, same random weights" in text
