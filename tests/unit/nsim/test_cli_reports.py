"""The commands that read a finished run: what they print and write, and how they refuse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import nsim
from nsim.frontends.network import Network
from nsim.reports.run import Run
from nsim.reports.run_sampler import run_sampler
from tests.command_line import nsim_exit_code, nsim_json
from tests.networks import model_of


@pytest.fixture(scope="module")
def folder(tiny_network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a"
    run_sampler(nsim.map(model_of(tiny_network, "ddim:2"), "loihi"), out=out, threads=1)
    return out


def test_export(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    assert (
        nsim_exit_code(monkeypatch, "export", str(folder), "--format", "latex", "--out", str(tmp_path / "x"))
        == 0
    )
    files = list((tmp_path / "x").iterdir())
    lines = [line.replace("\n", "") for line in capsys.readouterr().out.split("written to ") if line]
    assert sorted(lines) == sorted(map(str, files)) and len(files) == 6


def test_price(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    facts = nsim_json(monkeypatch, capsys, "price", str(folder), "--energy", "boardfit,C,lemaire2022")
    assert [row["model"] for row in facts["per_call"]] == ["boardfit", "by-input", "lemaire2022"]
    assert facts["per_call"][0]["energy_pj"] == pytest.approx(Run.open(folder).report.total_pj / 2)
    assert facts["ann_twin_energy_pj"] is None
    assert nsim_exit_code(monkeypatch, "price", str(folder)) == 0
    assert "C': C, and an AC per convolution's bias" in capsys.readouterr().out


def test_compare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    facts = nsim_json(monkeypatch, capsys, "compare", str(folder), f"{folder}@davies2018")
    assert [c["name"] for c in facts["per_call"]] == [str(folder), f"{folder}@davies2018"]
    assert facts["per_call"][0]["energy_ratio"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "nowhere"], "nowhere: not a run folder (no manifest.json)"),
        (["export", "nowhere"], "nowhere: not a run folder (no manifest.json)"),
        (["compare", "nowhere"], "nowhere: not a run folder (no manifest.json)"),
        (["run", "--resume", "nowhere"], "nowhere: not a run folder (no manifest.json)"),
        (
            ["run", "--out", "x"],
            "a run needs a MODEL and one folder: --out NEW_FOLDER, or --resume FOLDER to go on",
        ),
        (
            ["run", "sddpm-digits"],
            "a run needs a MODEL and one folder: --out NEW_FOLDER, or --resume FOLDER to go on",
        ),
    ],
)
def test_mistakes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert nsim_exit_code(monkeypatch, *arguments) == 2
    assert capsys.readouterr().err == f"nsim: {message}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["report", "compare"])
def test_where_nothing_can_be_written(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    tmp_path: Path,
    command: str,
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "x"
    assert nsim_exit_code(monkeypatch, command, str(folder), "--out", str(out)) == 2
    assert re.fullmatch(rf"nsim: {tmp_path}/file\S*: Not a directory\n", capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_unknown_energy_model_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert nsim_exit_code(monkeypatch, "price", str(folder), "--energy", "magic") == 2
    assert capsys.readouterr().err.startswith("nsim: no energy model 'magic' for loihi; known: boardfit, ")
