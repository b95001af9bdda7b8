"""A run that is killed and gone on with is, byte for byte, the run that was never stopped."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import nsim
from nsim import cli
from nsim.errors import RunError
from nsim.frontends.network import Network
from nsim.hw_models.mapping.mapping import Mapping
from nsim.reports.run import Run
from nsim.reports.run_checks import KEYS
from nsim.reports.run_folder import STEP_TABLES, TABLES
from nsim.reports.run_lock import HOLDER, sole_writer
from nsim.reports.run_plots import RunPlots
from nsim.reports.run_sampler import run_sampler
from nsim.workloads.sddpm import SpikingUNet
from tests.networks import model_of

STEPS = 5


@pytest.fixture(scope="module")
def checkpoint(tiny_unet: SpikingUNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.pt"
    weights = {name: tensor.float() for name, tensor in tiny_unet.state_dict().items()}
    torch.save({"net_model": weights, "x_T": torch.zeros(1, 1, 8, 8)}, path)
    return path


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "nsim", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """The same command line in this process, which has torch loaded already, to its end."""
    monkeypatch.setattr(sys, "argv", ["nsim", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code


def kill_when(process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    """SIGKILL as soon as ``reached``; a process that ends before is a test that tested nothing."""
    while not reached():
        assert process.poll() is None, process.communicate()
        time.sleep(0.0005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_killed_at_several_moments_and_gone_on_with(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    settings = ["run", str(checkpoint), "--sampler", f"ddim:{STEPS}", "--seed", "3", "--images", "2"]
    finish(monkeypatch, *settings, "--out", str(whole))

    kill_when(start(*settings, "--out", str(killed)), (killed / "manifest.json").exists)
    within_a_step = (killed / "events" / "0001.parquet").exists
    kill_when(start("run", "--resume", str(killed)), within_a_step)
    at_the_end = (killed / "images" / "0000.png").exists
    kill_when(start("run", "--resume", str(killed), "--json"), at_the_end)
    assert content(killed) != content(whole)
    finish(monkeypatch, "run", "--resume", str(killed))
    assert content(killed) == content(whole)


@pytest.fixture(scope="module")
def mapping(tiny_network: Network) -> Mapping:
    return nsim.map(model_of(tiny_network, "ddim:3"), "loihi")


@pytest.fixture(scope="module")
def finished(mapping: Mapping, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a"
    run_sampler(mapping, seed=5, out=out, threads=1)
    return out


class Stop(Exception):
    """Stops a run between two sampler steps."""


@pytest.fixture
def stopped(mapping: Mapping, tmp_path: Path) -> Path:
    """A run of three sampler steps, stopped after two."""

    def stop(done: int, of: int) -> None:
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        run_sampler(mapping, seed=5, out=tmp_path / "a", threads=1, progress=stop)
    return tmp_path / "a"


def resume(mapping: Mapping, out: Path, **settings: object) -> Run:
    return run_sampler(mapping, **{"seed": 5, "out": out, "threads": 1, "resume": True, **settings})  # type: ignore[arg-type]


def test_only_what_is_left_is_run(mapping: Mapping, stopped: Path, finished: Path) -> None:
    (stopped / "events" / "0002.part").write_bytes(b"half")
    seen: list[tuple[int, int]] = []
    resume(mapping, stopped, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(3, 3)]
    assert content(stopped) == content(finished)


def test_resume_of_what_never_began_begins(mapping: Mapping, tmp_path: Path, finished: Path) -> None:
    resume(mapping, tmp_path / "a")
    assert content(tmp_path / "a") == content(finished)


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"seed": 6}, "seed 5, this would go on with 6"),
        ({"images": 2}, "images 1, this would go on with 2"),
        ({"sampler": "ddim:4"}, "sampler ddim:3, this would go on with ddim:4"),
        ({"calibration": "davies2018"}, "calibration boardfit, this would go on with davies2018"),
    ],
)
def test_other_settings_are_refused(
    mapping: Mapping, stopped: Path, settings: dict[str, object], difference: str
) -> None:
    before = content(stopped)
    with pytest.raises(RunError) as error:
        resume(mapping, stopped, **settings)
    assert str(error.value) == (
        f"{stopped}: begun with {difference}; only the same model, chip, settings and versions give the "
        "same numbers. Start again in a new folder"
    )
    assert content(stopped) == before


@pytest.mark.parametrize(
    ("key", "part"),
    [("made_with", "nsim"), ("model", "sha256"), (None, "chip_sha256"), ("made_with", "python")],
)
def test_another_version_model_or_chip_is_refused(
    mapping: Mapping, stopped: Path, key: str | None, part: str
) -> None:
    manifest = json.loads((stopped / "manifest.json").read_text())
    (manifest[key] if key else manifest)[part] = "another"
    (stopped / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=f"begun with {f'{key}.' if key else ''}{part} another, this would"):
        resume(mapping, stopped)


def test_the_first_command_line_stays(mapping: Mapping, stopped: Path) -> None:
    manifest = json.loads((stopped / "manifest.json").read_text())
    manifest["made_with"]["command"] = ["run", "as it was"]
    (stopped / "manifest.json").write_text(json.dumps(manifest))
    assert resume(mapping, stopped).manifest["made_with"]["command"] == ["run", "as it was"]


def held(out: Path) -> str:
    """What a second writer is told while this process writes."""
    return (
        f"{out}: process {os.getpid()} on {platform.node()} is writing this run; wait until it ends, or stop "
        f"it and go on with the run: nsim run --resume {out}"
    )


@pytest.mark.parametrize("going_on", [True, False])
def test_a_second_writer_is_refused(mapping: Mapping, finished: Path, tmp_path: Path, going_on: bool) -> None:
    out, refused = tmp_path / "a", []

    def second(done: int, of: int) -> None:
        before = content(out)
        with pytest.raises(RunError) as error:
            resume(mapping, out, resume=going_on)
        assert content(out) == before
        refused.append(str(error.value))

    run_sampler(mapping, seed=5, out=out, threads=1, progress=second)
    assert refused == [held(out)] * 3
    assert content(out) == content(finished)


def test_a_second_process_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a"
    monkeypatch.setattr(sys, "argv", ["nsim", "run", str(checkpoint), "--out", str(out)])
    with sole_writer(out), pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith(f"nsim: {held(out)}\n")


def test_figures_are_drawn_while_no_one_else_writes(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, drawn_to = tmp_path / "a", []

    def draw(plots: RunPlots, folder: Path) -> None:
        with pytest.raises(RunError) as error, sole_writer(out):
            pass
        assert str(error.value) == held(out)
        drawn_to.append(folder)

    monkeypatch.setattr(RunPlots, "save_all", draw)
    finish(monkeypatch, "run", str(checkpoint), "--sampler", "ddim:1", "--out", str(out))
    assert drawn_to == [out]


@pytest.mark.parametrize("command", [["report"], ["export"], ["trace", "--out", "{}/step.json"]])
def test_nothing_is_added_while_another_writes(
    finished: Path,
    tmp_path: Path,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "a"
    shutil.copytree(finished, out)
    before = set(content(out))
    monkeypatch.setattr(sys, "argv", ["nsim", *(part.format(out) for part in command), str(out)])
    monkeypatch.setattr("nsim.reports.replay.replay", lambda *_: None)
    monkeypatch.setattr("nsim.reports.timeline.timeline", lambda _: [])
    with sole_writer(out), pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith(f"nsim: {held(out)}\n")
    assert set(content(out)) == before


def test_the_lock_of_a_killed_process_is_no_obstacle(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from nsim.reports.run_lock import sole_writer\n"
        "with sole_writer(pathlib.Path(sys.argv[1])): time.sleep(60)\n"
    )
    out, holder = tmp_path / "a", tmp_path / "a" / HOLDER
    process = subprocess.Popen([sys.executable, "-c", code, str(out)])
    while not (holder.exists() and holder.read_text()):
        assert process.poll() is None
        time.sleep(0.005)
    with (
        pytest.raises(RunError, match=f"a: process {process.pid} on .* is writing this run"),
        sole_writer(out),
    ):
        pass
    process.kill()
    process.wait()
    assert holder.exists()
    with sole_writer(out):
        assert json.loads(holder.read_text())["pid"] == os.getpid()
    assert not holder.exists()


def test_no_lock_is_left_among_files_that_are_no_run(mapping: Mapping, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunError, match="there is something here already"):
        run_sampler(mapping, out=tmp_path)
    assert list(content(tmp_path)) == ["thesis.tex"]


def of_another_nsim(out: Path, made: str, what: str) -> str:
    return (
        f"{out}: made by another nsim ({made}) than this ({nsim.__version__}): {what}. "
        "Read it with the nsim that made it, or run it again in a new folder"
    )


@pytest.mark.parametrize("key", KEYS)
def test_an_older_manifest_is_named(finished: Path, tmp_path: Path, key: str) -> None:
    manifest = json.loads((finished / "manifest.json").read_text())
    manifest["made_with"] |= {"nsim": "0.0.9", "revision": "abc"}
    first, _, rest = key.partition(".")
    del (manifest[first] if rest else manifest)[rest or first]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    made = "nsim 0.0.9, revision abc"
    if key == "made_with":
        made, key = "it does not say which", "made_with, made_with.nsim, made_with.command"
    elif key == "made_with.nsim":
        made = "revision abc"
    elif key == "model":
        key = ", ".join(name for name in KEYS if name.partition(".")[0] == "model")
    with pytest.raises(RunError) as error:
        Run.open(tmp_path)
    assert str(error.value) == of_another_nsim(tmp_path, made, f"manifest.json lacks {key}")


def test_the_keys_are_those_a_run_writes(finished: Path) -> None:
    manifest = json.loads((finished / "manifest.json").read_text())
    written = {*manifest, *(f"model.{key}" for key in manifest["model"])}
    assert {key for key in KEYS if not key.startswith("made_with.")} == written


@pytest.mark.parametrize("content", ["[]", "null", '{"made_with": "me", "model": 3}'])
def test_a_manifest_of_another_kind(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(RunError, match=r"made by another nsim \(it does not say which\) than this"):
        Run.open(tmp_path)


@pytest.mark.parametrize("command", ["run", "trace", "report", "compare", "price", "export"])
def test_every_command_names_an_older_folder(
    finished: Path,
    tmp_path: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = json.loads((finished / "manifest.json").read_text())
    del manifest["weight_bits"]
    manifest["made_with"] |= {"nsim": "0.0.9", "revision": None}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    before = content(tmp_path)
    own = {"run": ["--resume"], "trace": ["--out", str(tmp_path / "t.json")]}.get(command, [])
    monkeypatch.setattr(sys, "argv", ["nsim", command, *own, str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    told = of_another_nsim(tmp_path, "nsim 0.0.9", "manifest.json lacks weight_bits")
    assert capsys.readouterr().err == f"nsim: {told}\n"
    assert content(tmp_path) == before


def test_an_older_manifest_is_not_gone_on_with(mapping: Mapping, stopped: Path) -> None:
    manifest = json.loads((stopped / "manifest.json").read_text())
    del manifest["weight_bits"]
    (stopped / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"made by another nsim .*: manifest.json lacks weight_bits. Read it"):
        resume(mapping, stopped)


@pytest.mark.parametrize(
    ("file", "column"),
    [("cores.parquet", "network"), ("latency/0001.parquet", "busiest_core"), ("events/0000.parquet", "tick")],
)
def test_an_older_table_is_named(
    mapping: Mapping, finished: Path, tmp_path: Path, file: str, column: str
) -> None:
    out = tmp_path / "a"
    shutil.copytree(finished, out)
    pq.write_table(pq.read_table(out / file).drop_columns(column), out / file)
    made_with = json.loads((out / "manifest.json").read_text())["made_with"]
    made = f"nsim {made_with['nsim']}, revision {made_with['revision']}"
    for use in (Run.open, lambda path: resume(mapping, path)):
        with pytest.raises(RunError) as error:
            use(out)
        assert str(error.value) == of_another_nsim(out, made, f"{file} lacks the column {column}")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip(path: Path) -> None:
    """Change one byte in the middle, where no length or footer tells."""
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, Path.unlink])
@pytest.mark.parametrize(
    "file", ["events/0001.parquet", "times/0000.parquet", "states/0001.npy", "cores.parquet"]
)
def test_damage_is_named(
    mapping: Mapping, finished: Path, tmp_path: Path, file: str, damage: Callable
) -> None:
    out = tmp_path / "a"
    shutil.copytree(finished, out)
    damage(out / file)
    for use in (Run.open, lambda path: resume(mapping, path)):
        before = content(out)
        with pytest.raises(RunError) as error:
            use(out)
        assert str(error.value).startswith(f"{out / file}: damaged: ")
        assert str(error.value).endswith(". Run it again in a new folder")
        assert content(out) == before


def test_a_changed_byte_is_found_when_the_table_is_read(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "a"
    shutil.copytree(finished, out)
    flip(out / "events" / "0001.parquet")
    with pytest.raises(RunError, match=r"events/0001.parquet: damaged: .*CRC"):
        Run.open(out).counts()


def test_a_manifest_that_is_no_json_is_named(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "a"
    shutil.copytree(finished, out)
    cut(out / "manifest.json")
    with pytest.raises(RunError) as error:
        Run.open(out)
    assert str(error.value) == (
        f"{out / 'manifest.json'}: damaged: it is not JSON. Run it again in a new folder"
    )


def test_every_table_says_where_it_comes_from(finished: Path) -> None:
    manifest = json.loads((finished / "manifest.json").read_text())
    del manifest["complete"]
    files = list(finished.rglob("*.parquet"))
    assert len(files) == len(TABLES) + len(STEP_TABLES) * 3
    for path in files:
        assert json.loads(pq.read_schema(path).metadata[b"nsim"]) == manifest
    run = Run.open(finished)
    for frame in (run.energy(), run.latency(), run.counts(), run.operations(), run.utilization()):
        assert frame.attrs["nsim"] == manifest


def test_states_are_the_walk(finished: Path) -> None:
    run = Run.open(finished)
    np.testing.assert_array_equal(run.folder.state(2), np.load(finished / "images.npy"))


def test_not_begun_by_the_command_line(stopped: Path) -> None:
    process = start("run", "--resume", str(stopped))
    _, error = process.communicate()
    assert process.returncode == 2
    assert error == (
        f"nsim: {stopped}: not begun by `nsim run`; go on with it in Python: "
        f"nsim.run(mapping, ..., out='{stopped}', resume=True)\n"
    )
