"""Estimates before the start: they grow with the work; what cannot fit is refused with a way out."""

from __future__ import annotations

import pytest

import nsim
from nsim.errors import RunError, SweepError
from nsim.frontends.network import Network
from nsim.reports import cost, sweep_cost
from nsim.reports.cost import (
    Cost,
    Size,
    available_bytes,
    check_run,
    refuse_images,
    run_cost,
    training_cost,
)
from nsim.reports.sweep_cost import workers_that_fit
from nsim.workloads.training import bundled_training
from tests.networks import model_of

SIZE = Size(ac=50_000_000, elements=230_000, weights=700_000, cores=2352, depth=19)
"""The bundled model's, on Loihi."""


def test_an_estimate_is_near_what_the_bundled_model_was_measured_to_take() -> None:
    """Measured: 14 s and 3.05 GB for 2 steps of 160 images, 0.7 GB for 20 steps of one."""
    many, one = run_cost(SIZE, 4, 2, 2, 160, "analytic"), run_cost(SIZE, 4, 20, 20, 1, "analytic")
    assert many.bytes == pytest.approx(3.05e9, rel=0.25)
    assert one.bytes == pytest.approx(0.7e9, rel=0.25)
    assert 14 / 3 < many.seconds - cost.START_S < 14 * 3


def test_more_to_do_costs_more() -> None:
    base = run_cost(SIZE, 4, 50, 50, 4, "analytic")
    assert run_cost(SIZE, 4, 50, 10, 4, "analytic").seconds < base.seconds
    assert run_cost(SIZE, 4, 50, 50, 4, "event").seconds > base.seconds
    assert run_cost(SIZE, 8, 50, 50, 4, "analytic").bytes > base.bytes
    assert run_cost(SIZE, 4, 50, 50, 8, "analytic").bytes > base.bytes


def test_words() -> None:
    assert str(Cost(0.2, 1.23e9)) == "about 1 s, 1.2 GB of memory (estimate)"
    assert str(Cost(3000, 1e9)).startswith("about 50 min")
    assert str(Cost(86400 * 3, 1e9)).startswith("about 3 days")


def test_images_that_do_not_fit() -> None:
    def linear(images: int) -> Cost:
        return Cost(1.0, 1e9 + 2e9 * images)

    assert refuse_images(linear, 2, 5e9) == linear(2)
    with pytest.raises(RunError) as error:
        refuse_images(linear, 3, 6.5e9)
    assert str(error.value) == (
        "3 image(s) at a time need about 7.0 GB of memory (estimate), 6.5 GB are free; --images 2 fits"
    )
    with pytest.raises(RunError, match=r"not even one fits: fewer sampler steps, or more memory$"):
        refuse_images(linear, 3, 2.9e9)


def test_a_run_is_refused_before_it_starts(tiny_network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    mapping = nsim.map(model_of(tiny_network))
    assert check_run(mapping, None, 1, "analytic", "all").bytes < available_bytes()
    monkeypatch.setattr(cost, "available_bytes", lambda: 6e8)
    with pytest.raises(RunError, match=r"^10000 image\(s\) at a time need .* --images \d+ fits$"):
        check_run(mapping, None, 10_000, "analytic", "all")


def test_a_papers_table_is_refused_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(cost.check_reproduce()) == "about 60 s, 4.0 GB of memory (estimate)"
    monkeypatch.setattr(cost, "available_bytes", lambda: 3e9)
    with pytest.raises(RunError) as error:
        cost.check_reproduce()
    assert str(error.value) == (
        "sddpm-table3: its network of 67 million weights needs about 4.0 GB of memory (estimate), 3.0 GB are "
        "free; it takes a machine with more"
    )


def test_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_cost, "available_bytes", lambda: 7e9)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    point = Cost(1.0, 2e9)
    assert workers_that_fit(point, None, 100, elsewhere=False) == 3
    assert workers_that_fit(point, None, 2, elsewhere=False) == 2
    assert workers_that_fit(point, 3, 100, elsewhere=False) == 3
    assert workers_that_fit(point, 50, 100, elsewhere=True) == 50
    assert workers_that_fit(None, None, 100, elsewhere=False) == 1
    with pytest.raises(SweepError) as error:
        workers_that_fit(point, 4, 100, elsewhere=False)
    assert str(error.value) == (
        "4 process(es) of about 2.0 GB of memory each (estimate) do not fit into the 7.0 GB that are free; "
        "--workers 3 fits"
    )
    monkeypatch.setattr(sweep_cost, "available_bytes", lambda: 1e9)
    with pytest.raises(SweepError, match=r"not even one fits: sweep fewer --images, or smaller models$"):
        workers_that_fit(point, None, 100, elsewhere=False)


def test_every_bundled_training_says_its_cost() -> None:
    for name in ("lateral-digits", "sddpm-digits", "sdm-digits", "spiking-diffusion-digits"):
        iterations = bundled_training(name, 0, None).config.iterations
        assert training_cost(name, iterations).seconds > training_cost(name, 1).seconds
    assert str(training_cost("sddpm-digits", 12_000)) == "about 88 min, 1.0 GB of memory (estimate)"
