"""The command line: what it prints, and one line and exit code 2 for every mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nsim import cli
from nsim.hw_models.catalog import find_chip_file
from nsim.workloads.checkpoints import find_checkpoint
from tests.command_line import nsim_exit_code, nsim_json


def test_map_prints_cores_chips_and_what_binds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nsim_exit_code(monkeypatch, "map", "sddpm-digits") == 0
    text = capsys.readouterr().out
    facts = nsim_json(monkeypatch, capsys, "map", "sddpm-digits")
    assert f"{facts['cores']:,} cores on {facts['chips']} chips (one holds 128 cores: too small)" in text
    assert "weights: scikit-learn digits" in text
    assert sum(layer["cores"] for layer in facts["layers"]) == facts["cores"]
    for layer in facts["layers"]:
        for resource in layer["fullest"].values():
            assert 0 <= resource["used"] <= resource["max"]
        assert layer["binds"] in text.replace("output axons", "output_axons").replace(
            "input axons", "input_axons"
        ).replace("synaptic words", "synaptic_words")
    assert facts["per_time_step"]["mac_as_traced"] > facts["per_time_step"]["mac_on_host"] > 0
    assert facts["estimate"]["assumed_firing_rate"] == 0.2


def test_run_writes_a_folder_and_accounts_for_everything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "a"
    facts = nsim_json(monkeypatch, capsys, "run", "sddpm-digits", "--sampler", "ddim:2", "--out", str(out))
    assert facts["uncosted"] == []
    priced = [e for e in facts["energy_pj_by_cause"].values() if e is not None]
    assert sum(priced) == pytest.approx(facts["energy_pj"], rel=1e-9)
    assert sum(e or 0 for e in facts["energy_pj_by_layer"].values()) == pytest.approx(facts["energy_pj"])
    assert facts["per_call"]["as_laid_out"]["ac"] > facts["per_call"]["as_traced"]["ac"] > 0
    assert facts["per_call"]["ann_twin_papers_rule_energy_pj"] == pytest.approx(4.6 * 61_366_272)
    assert [p.name for p in sorted((out / "events").iterdir())] == ["0000.parquet", "0001.parquet"]
    assert (out / "images" / "0000.png").stat().st_size > 0
    assert (out / "energy.png").stat().st_size > 0

    assert nsim_exit_code(monkeypatch, "run", "sddpm-digits", "--out", str(out)) == 2
    message = f"nsim: {out}: there is something here already; choose another folder or remove it\n"
    assert capsys.readouterr().err == message


def test_run_times_packet_by_packet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "a"
    arguments = ("run", "sddpm-digits", "--sampler", "ddim:1", "--time-steps", "2", "--out", str(out))
    nsim_json(monkeypatch, capsys, *arguments, "--timing", "event")
    assert json.loads((out / "manifest.json").read_text())["timing"] == "event"


def test_cycle_timing_needs_the_size_of_buffers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    loihi = find_chip_file("loihi").read_text(encoding="utf-8")
    chip, out = tmp_path / "my.yaml", tmp_path / "a"
    chip.write_text(loihi[: loihi.index("noc:\n")] + loihi[loihi.index("default_calibration:") :])
    arguments = ("sddpm-digits", "--chip", str(chip), "--timing", "cycle", "--out", str(out))
    assert nsim_exit_code(monkeypatch, "run", *arguments) == 2
    assert capsys.readouterr().err == (
        "nsim: chip 'loihi' has no value for noc.buffer_packets, which --timing cycle needs: "
        "add one to the chip file, with its source, or use --timing event\n"
    )
    assert not out.exists()


def test_check_agrees_with_brian2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = nsim_json(monkeypatch, capsys, "check", "sddpm-digits", "--neurons", "8")
    assert facts["agrees"] is True
    assert facts["spike_differences"] == 0
    assert facts["max_potential_error"] <= 1e-9
    assert len(facts["layers"]) == 19
    assert sum(layer["spikes"] for layer in facts["layers"]) > 0


def test_chips_lists_and_shows_figures_with_sources(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = nsim_json(monkeypatch, capsys, "chips")
    assert [*facts] == ["digital45", "loihi", "loihi2", "speck", "truenorth", "ann45", "eyeriss", "h100"]
    assert facts["loihi"]["calibrations"]["boardfit"]["events"]["hop_x"]["energy_pj"]["value"] == 3.0
    assert facts["eyeriss"]["others"]["dram_access_over_mac"]["value"] == 200
    for name, shown in {
        "loihi": "davies2018loihi",
        "truenorth": "2.297",
        "loihi2": "Intel has published no energy",
        "h100": "1.4",
    }.items():
        assert nsim_exit_code(monkeypatch, "chips", name) == 0
        assert shown in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("chip", "why"),
    [
        (
            "truenorth",
            "sddpm-digits on truenorth: real weights, a crossbar holds integers of at most 9 bits; use "
            "--weight-bits 2 (ternary, 128 inputs for a neuron) to 9 (14 inputs), and --partial-sums relay "
            "for neurons that hear more",
        ),
        (
            "speck",
            "sddpm-digits: 20 layers take a core each, speck has 9; use a model of fewer layers or another "
            "chip",
        ),
    ],
)
def test_map_says_why_a_model_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], chip: str, why: str
) -> None:
    assert nsim_exit_code(monkeypatch, "map", "sddpm-digits", "--chip", chip) == 2
    assert capsys.readouterr().err == f"nsim: {why}\n"


def test_map_sets_all_policies_side_by_side(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = nsim_json(monkeypatch, capsys, "map", "sddpm-digits", "--chip", "loihi2", "--policy", "graded")
    rows = {row["policy"]: row for row in facts["policies"]}
    assert list(rows) == ["expand", "host", "graded", "colocate"]
    assert facts["cores"] == rows["graded"]["cores"] == sum(layer["cores"] for layer in facts["layers"])
    assert all(row["energy_uj"] is row["time_ms"] is None and row["unknown"] for row in rows.values())
    # the same spikes and weights under all but expand; what is held beside a soma is sent less often
    assert rows["host"]["ac"] == rows["graded"]["ac"] == rows["colocate"]["ac"] < rows["expand"]["ac"]
    assert 0 == rows["host"]["mac"] < rows["colocate"]["mac"] < rows["graded"]["mac"]
    assert rows["expand"]["packets"] < rows["colocate"]["packets"] < rows["graded"]["packets"]


def test_map_makes_sums_in_parts_on_crossbars(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ternary = ("map", "sddpm-digits", "--chip", "truenorth", "--weight-bits", "2")
    assert nsim_exit_code(monkeypatch, *ternary) == 2
    error = capsys.readouterr().err
    assert error.startswith("nsim: upblocks.2.neuron: one neuron hears 3,168 neurons, at most 128 with 2-bit")
    assert "Use --partial-sums relay (exact, slow)" in error
    facts = nsim_json(monkeypatch, capsys, *ternary, "--partial-sums", "relay")
    assert facts["cores"] == sum(item["cores"] for item in facts["layers"] + facts["beside_layers"])
    assert {item["task"] for item in facts["beside_layers"]} == {"final", "splitters", "waiting", "gate"}
    assert facts["weights"].endswith(", rounded to 2 bits")
    (expand, *others) = facts["policies"]
    assert (expand["options"], expand["cores"]) == ("--weight-bits 2 --partial-sums relay", facts["cores"])
    assert expand["ticks"] == facts["ticks"] == 23 * facts["ticks_per_time_step"]
    assert expand["time_ms"] == facts["ticks"]  # 1 ms each
    # the floor of all chips for that long, and more for what is added up
    assert expand["energy_uj"] > facts["chips"] * 64.43 * facts["time_ms"]
    assert all(other["refused"].endswith("use expand") for other in others)


def test_silicon_says_what_is_unknown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = nsim_json(monkeypatch, capsys, "silicon")["comparisons"]
    assert {row["calibration"] for row in rows if row["errors"] is None} == {
        "loihi boardfit",
        "loihi davies2018",
        "loihi2 unpublished",
    }
    assert nsim_exit_code(monkeypatch, "silicon") == 0
    assert "+8.9% to +20.2%" in " ".join(capsys.readouterr().out.split())


def _damaged(folder: Path) -> dict[str, Path]:
    """Files that are not models, by what is wrong with them."""
    bundled = find_checkpoint("sddpm-digits").read_bytes()
    files = {name: folder / f"{name}.pt" for name in ("text", "truncated", "empty", "other", "pickle", "odd")}
    files["text"].write_text("not a model")
    files["truncated"].write_bytes(bundled[: len(bundled) // 2])
    files["empty"].write_bytes(b"")
    torch.save({"weight": torch.zeros(3)}, files["other"])
    torch.save(torch.nn.Linear(2, 2), files["pickle"])
    content = torch.load(find_checkpoint("sddpm-digits"), weights_only=True)
    content["net_model"]["upblocks.0.conv1.weight"] = torch.zeros(64, 100, 3, 3)
    torch.save(content, files["odd"])
    return files


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text", "not a torch checkpoint, or a damaged one"),
        ("truncated", "not a torch checkpoint, or a damaged one"),
        ("empty", "not a torch checkpoint, or a damaged one"),
        (
            "other",
            "no 'net_model' with tensors in it (found 'weight'); a model file is SDDPM's or SDM's dict "
            "{net_model, optim, step, x_T}, or a bare state dict of Spiking-Diffusion",
        ),
        (
            "pickle",
            "holds Python objects, not plain tensors, and is not opened because loading it would run code; "
            "save model.state_dict() instead",
        ),
        (
            "odd",
            "upblocks.0.conv1.weight is 64x100x3x3, an SDDPM Spiking U-Net of width 32 and multipliers "
            "(1, 2) has 64x128x3x3",
        ),
    ],
)
def test_a_file_that_is_no_model_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
    message: str,
) -> None:
    path = _damaged(tmp_path)[name]
    assert nsim_exit_code(monkeypatch, "map", str(path)) == 2
    assert capsys.readouterr().err == f"nsim: {path}: {message}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["map", "nowhere.pt"], "nowhere.pt: no such file, and no bundled model of that name"),
        (
            ["run", "sddpm-digits", "--sampler", "magic", "--out", "x"],
            "sampler 'magic' is none of ddim:N (N from 1 to 1000), ddim-unclamped:N, ddpm:1000, "
            "ddpm-small:1000, dpm-solver:N, analytic:N, absorbing:N or "
            "absorbing:N@TEMPERATURE (tokens); for example ddim:50",
        ),
        (
            ["run", "sddpm-digits", "--calibration", "mine", "--out", "x"],
            "chip 'loihi' has no calibration 'mine'. It has: boardfit, davies2018.",
        ),
        (
            ["map", "sddpm-digits", "--v-threshold", "-1"],
            "a threshold of -1 for '*'; it must be above 0",
        ),
        (
            ["sweep", "sddpm-digits"],
            "--out is missing: a new folder for the results, for example --out sweeps/a",
        ),
        (
            ["sweep", "sddpm-digits", "plans/b.yaml"],
            "plans/b.yaml: a YAML file, no model; a sweep's plan is given as --plan plans/b.yaml",
        ),
        (
            ["sweep", "sddpm-digits", "--time-steps", "2,x", "--out", "x"],
            "--time-steps: expected a whole number, found 'x'",
        ),
        (
            ["train", "sdm-letters", "--out", "x.pt"],
            "nothing called 'sdm-letters' can be trained; known: lateral-digits, sddpm-digits, sdm-digits, "
            "spiking-diffusion-digits",
        ),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert nsim_exit_code(monkeypatch, *arguments) == 2
    assert capsys.readouterr().err == f"nsim: {message.format(model=find_checkpoint('sddpm-digits'))}\n"
    assert list(tmp_path.iterdir()) == []


def test_sweep_reports_every_point_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_checkpoint: Path,
) -> None:
    out, plan = tmp_path / "a", tmp_path / "plan.yaml"
    plan.write_text(f"models: [{tiny_checkpoint}]\ncalibration: [boardfit, mine, davies2018]\n")
    arguments = ["--plan", str(plan), "--time-steps", "1,2", "--workers", "1", "--out", str(out), "--json"]
    assert nsim_exit_code(monkeypatch, "sweep", *arguments) == 1
    printed = capsys.readouterr()
    facts = json.loads(printed.out)
    assert printed.err == ""
    assert (facts["points_done"], facts["points_failed"], facts["points_missing"]) == (4, 2, 0)
    assert facts["varied"] == ["time_steps", "calibration"]
    assert facts["points"][1]["energy_pj"] is None
    assert set(facts["fronts"]["energy-latency"]) <= {0, 2, 3, 5}
    for name in ("sweep.parquet", "curves-time_steps.png", "curves-calibration.svg", "energy-latency.png"):
        assert (out / name).stat().st_size > 0
    assert nsim_exit_code(monkeypatch, "sweep", "--resume", str(out), "--workers", "1") == 1
    assert (
        "point 1 (time steps 1, mine): failed: chip 'loihi' has no calibration 'mine'"
        in capsys.readouterr().out
    )
    assert nsim_exit_code(monkeypatch, "sweep", "--resume", str(out), "--seed", "1") == 2
    error = "nsim: --resume goes on with the plan in its folder; leave out: seed\n"
    assert capsys.readouterr().err == error


def test_completion_and_examples(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command takes --json and shows an example; the shell is told how to complete."""
    names = [c.name or c.callback.__name__ for c in cli.app.registered_commands if c.callback]
    for name in names:
        assert nsim_exit_code(monkeypatch, name, "--help") == 0
        shown = capsys.readouterr().out
        assert "--json" in shown, name
        assert f"nsim {name} " in shown.replace("\n", " "), name
    assert nsim_exit_code(monkeypatch, "--help") == 0
    assert "--install-completion" in capsys.readouterr().out


def test_python_m_nsim_shows_the_commands() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "nsim", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("map", "run", "sweep", "check", "chips", "silicon", "train", "quality"):
        assert f"\n  {command} " in shown.stdout
