"""Plans: flags, files, both; every combination once, and wrong values named with their place."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from nsim.errors import SweepError
from nsim.hw_models.mapping.place import Order
from nsim.hw_models.mapping.policies import Policy
from nsim.hw_models.mapping.schedule import Schedule
from nsim.reports.step_meter import Timing
from nsim.reports.sweep import Sweep
from nsim.reports.sweep_axes import AXES
from nsim.reports.sweep_plan import plan_sweep, read_plan

DEFAULTS = {axis.name: axis.default for axis in AXES}


def test_points_are_every_combination_in_the_order_of_the_axes() -> None:
    plan = plan_sweep(["a", "b"], {"seed": "0,1", "time_steps": "2, 4", "chip": None})
    assert plan.varied == ["model", "time_steps", "seed"]
    assert plan.points == [
        DEFAULTS | {"model": model, "time_steps": steps, "seed": seed}
        for model in ("a", "b")
        for steps in (2, 4)
        for seed in (0, 1)
    ]


def test_choices_are_those_of_the_options() -> None:
    choices = {axis.name: axis.choices for axis in AXES if axis.choices}
    assert choices == {
        "policy": get_args(Policy),
        "schedule": get_args(Schedule),
        "placement": get_args(Order),
        "timing": get_args(Timing),
    }


def test_one_model_and_nothing_else_is_one_point() -> None:
    plan = plan_sweep(["a"])
    assert plan.points == [DEFAULTS | {"model": "a"}]
    assert plan.varied == []


def test_a_file_and_flags_that_overrule_it(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(
        "models: [a]\ntime_steps: [2, 4]\nsampler: ddim:10\nv_threshold: [1, 0.9, null]\nquality: 500\n"
    )
    plan = plan_sweep([], {}, None, file)
    assert plan.models == ("a",)
    assert plan.quality == 500
    assert [p["v_threshold"] for p in plan.points] == [1.0, 0.9, None] * 2
    assert {p["sampler"] for p in plan.points} == {"ddim:10"}
    over = plan_sweep(["b"], {"time_steps": "8"}, 100, file)
    assert (over.models, over.quality) == (("b",), 100)
    assert {p["time_steps"] for p in over.points} == {8}


def test_thresholds_layer_by_layer_are_text(tmp_path: Path) -> None:
    plan = plan_sweep(["a"], {"v_threshold": "0.9,1+neuron=0.5"})
    assert [p["v_threshold"] for p in plan.points] == [0.9, "1+neuron=0.5"]
    assert read_plan(plan.model_dump(mode="json")) == plan
    assert Sweep.new(plan, tmp_path / "a").table()["v_threshold"].tolist() == ["0.9", "1+neuron=0.5"]
    numbers = plan_sweep(["a"], {"v_threshold": "0.9,1"})
    assert Sweep.new(numbers, tmp_path / "b").table()["v_threshold"].dtype == float


def test_weights_that_stay_real_are_a_value_among_others(tmp_path: Path) -> None:
    plan = plan_sweep(["a"], {"weight_bits": "4,real"})
    assert [p["weight_bits"] for p in plan.points] == [4, None]
    assert read_plan(plan.model_dump(mode="json")) == plan
    for text in ("[4, real]", "[4, null]"):
        (tmp_path / "plan.yaml").write_text(f"models: a\nweight_bits: {text}\n")
        assert plan_sweep([], {}, None, tmp_path / "plan.yaml") == plan


def test_a_plan_survives_being_written() -> None:
    plan = plan_sweep(["a"], {"v_threshold": "0.9,1", "timing": "analytic,event"}, 10)
    assert read_plan(plan.model_dump(mode="json")) == plan


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"time_steps": "2,x"}, "--time-steps: expected a whole number, found 'x'"),
        ({"time_steps": "2,,4"}, "--time-steps: expected a whole number, found ''"),
        ({"v_threshold": "one"}, "--v-threshold: expected a number, found 'one'"),
        ({"timing": "event,magic"}, "--timing: expected 'analytic', 'event' or 'cycle', found 'magic'"),
        ({"policy": "magic"}, "--policy: expected 'expand', 'host', 'graded' or 'colocate', found 'magic'"),
        ({"time_steps": "0"}, "--time-steps: expected at least 1, found 0"),
        ({"seed": "-1"}, "--seed: expected at least 0, found -1"),
        ({"seed": "0,1,0"}, "--seed: expected every value once, found 0 twice"),
    ],
)
def test_wrong_flags(flags: dict[str, str | None], message: str) -> None:
    with pytest.raises(SweepError) as error:
        plan_sweep(["a"], flags)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "models: [a]\ntime_steps:\n  - 2\n  - x\n",
            "line 4, time_steps.1: expected a whole number, found 'x'",
        ),
        ("models: [a]\ntime_step: 2\n", "line 2, time_step: expected one of the fields "),
        ("models: a\nseed: null\n", "line 2, seed.0: expected a whole number, found nothing"),
        ("models: a\nseed: []\n", "line 2, seed: expected at least one value, found none"),
        ("models: a\nimages: [1, 1]\n", "line 2, images: expected every value once, found 1 twice"),
        ("models: a\nquality: 1\n", "line 2, quality: expected at least 2, found 1"),
        ("models: a\ntime_steps: true\n", "line 2, time_steps.0: expected a whole number, found True"),
        ("models: a\nplacement: best\n", "line 2, placement.0: expected 'optimised' or 'row-major', found"),
        ("models: [a\n", "line 2: expected YAML, found a fault: "),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(SweepError) as error:
        plan_sweep([], {}, None, file)
    assert str(error.value).startswith(f"{file}, {message}")


def test_nothing_to_sweep(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"^nothing to sweep: name a model, for example nsim sweep"):
        plan_sweep([], {"seed": "1,2"})
    with pytest.raises(SweepError, match="cannot be read"):
        plan_sweep([], {}, None, tmp_path / "missing.yaml")
