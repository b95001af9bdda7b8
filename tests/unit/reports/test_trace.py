"""Traces of a sampler step: replayed, added up against the run's own tables, read back from both formats."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from nsim.errors import NsimError, RunError
from nsim.hw_models.mapping.mapping import map_model
from nsim.reports import trace_files
from nsim.reports.replay import replay
from nsim.reports.run import Run
from nsim.reports.run_sampler import run_sampler
from nsim.reports.timeline import CHIP, Slice, timeline
from nsim.reports.trace_files import write_trace
from nsim.simulator.timing import INPUT_EVENTS, NEURON_EVENTS
from nsim.workloads.load import load_model
from nsim.workloads.sddpm import SpikingUNet

STEP, IMAGES, TIME_STEPS = 1, 2, 2


@pytest.fixture(scope="module")
def model_file(tiny_unet: SpikingUNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.pt"
    torch.save({"net_model": tiny_unet.state_dict(), "x_T": torch.zeros(1, 1, 8, 8)}, path)
    return path


@pytest.fixture(scope="module")
def run(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    mapping = map_model(load_model(model_file, TIME_STEPS, 0.9), "loihi", schedule="layerwise")
    folder = tmp_path_factory.mktemp("runs") / "a"
    return run_sampler(mapping, "ddim:2", seed=3, images=IMAGES, out=folder, timing="event", threads=1)


@pytest.fixture(scope="module")
def slices(run: Run, model_file: Path) -> list[Slice]:
    return list(timeline(replay(run, STEP, str(model_file))))


@pytest.fixture(scope="module")
def events(run: Run) -> pd.DataFrame:
    return pq.read_table(run.folder.path / "events" / f"{STEP:04d}.parquet").to_pandas()


def test_ticks_are_those_of_the_run(run: Run, slices: list[Slice]) -> None:
    latency = run.latency().query(f"sampler_step == {STEP}")
    chip = [s for s in slices if s.track == CHIP]
    ticks, cores, barriers = chip[::3], chip[1::3], chip[2::3]
    assert len(ticks) == len(latency) == IMAGES * run.manifest["model"]["time_steps"] * 20
    for found, column in ((cores, "core_ns"), (barriers, "barrier_ns"), (ticks, "time_ns")):
        lasts = [(s.end_ps - s.start_ps) / 1000 for s in found]
        np.testing.assert_allclose(lasts, latency[column], rtol=1e-12)
    assert [(s.facts["image"], s.facts["tick"]) for s in ticks] == list(
        zip(latency["image"], latency["tick"], strict=True)
    )
    ends = [0, *(s.end_ps for s in ticks)]
    assert [s.start_ps for s in ticks] == ends[:-1]
    for tick, core, barrier in zip(ticks, cores, barriers, strict=True):
        assert (
            tick.start_ps == core.start_ps <= core.end_ps == barrier.start_ps <= barrier.end_ps == tick.end_ps
        )


def test_the_busiest_track_is_as_long_as_the_tick(slices: list[Slice]) -> None:
    """In every tick the last core to be done ends the cores' part; nothing lasts into the barrier."""
    start, end, last = 0, 0, 0
    for s in slices:
        if s.track == CHIP and s.name == "cores":
            assert last == end
            start, end, last = s.start_ps, s.end_ps, 0
        elif s.track != CHIP:
            assert start <= s.start_ps <= s.end_ps <= end
            last = max(last, s.end_ps) if s.name != "packets" else last
    assert last == end


def test_busy_times_are_the_priced_events(run: Run, slices: list[Slice], events: pd.DataFrame) -> None:
    """Core by core, over the step: what its two sides did takes the time of the events that were counted."""
    cost = {e: run.calibration.time_ns(e) or 0.0 for e in (*NEURON_EVENTS, *INPUT_EVENTS)}
    counted = events.groupby("core").sum()
    busy: dict[str, dict[int, int]] = {"neurons": defaultdict(int), "inputs": defaultdict(int)}
    for s in slices:
        if s.name in busy:
            core = int(s.track[1].split()[1])
            assert s.track[0] == run.cores["layer"][core]
            busy[s.name][core] += s.facts["busy_ps"]
            assert s.facts["busy_ps"] <= s.end_ps - s.start_ps
            if s.name == "neurons":
                assert s.facts["busy_ps"] == s.end_ps - s.start_ps
    for name, kinds in (("neurons", NEURON_EVENTS), ("inputs", INPUT_EVENTS)):
        wanted = sum(cost[e] * counted[e] for e in kinds)
        found = [busy[name][core] / 1000 for core in counted.index]
        np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_facts_are_the_counts(run: Run, slices: list[Slice], events: pd.DataFrame) -> None:
    totals: dict[tuple[str, str], int] = defaultdict(int)
    for s in slices:
        for fact, n in s.facts.items():
            totals[s.name, fact] += n
        if s.name == "packets":
            assert s.track[0] == "links"
            assert 0 < s.facts["busy_ps"] <= s.end_ps - s.start_ps
    assert totals["neurons", "spikes"] == events["spike"].sum() > 0
    assert totals["inputs", "packets"] == events["packet_in"].sum() > 0
    synapses = events["synaptic_event_conv"] + events["synaptic_event_dense"]
    assert totals["inputs", "synaptic_events"] == synapses.sum() > 0
    assert totals["packets", "packets"] == (events["hop_x"] + events["hop_y"]).sum() > 0
    hop_ns = {e: run.calibration.time_ns(e) or 0.0 for e in ("hop_x", "hop_y")}
    wanted = sum(events[e].sum() * ns for e, ns in hop_ns.items())
    assert totals["packets", "busy_ps"] / 1000 == pytest.approx(wanted, rel=1e-9)


def test_json_reads_back(slices: list[Slice], tmp_path: Path) -> None:
    assert write_trace(slices, tmp_path / "a.json") == len(slices)
    content = json.loads((tmp_path / "a.json").read_text())
    names: dict[tuple[str, int], str] = {}
    found = []
    for e in content["traceEvents"]:
        if e["name"] == "process_name":
            names["process", e["pid"]] = e["args"]["name"]
        elif e["name"] == "thread_name":
            names["thread", e["tid"]] = e["args"]["name"]
        elif e["ph"] == "X":
            start, lasts = round(e["ts"] * 1e6), round(e["dur"] * 1e6)
            track = (names["process", e["pid"]], names["thread", e["tid"]])
            found.append(Slice(track, e["name"], start, start + lasts, e["args"]))
    assert found == slices


Message = dict[int, list[Any]]


def message(content: bytes) -> Message:
    """The fields of a protobuf message: numbers, or bytes that may be messages."""

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = content[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    fields: Message = defaultdict(list)
    at = 0
    while at < len(content):
        field, kind = divmod(varint(), 8)
        assert kind in (0, 2)
        if kind == 0:
            fields[field].append(varint())
        else:
            size = varint()
            fields[field].append(content[at : at + size])
            at += size
    assert at == len(content)
    return fields


def read_perfetto(content: bytes) -> list[Slice]:
    """What a reader of the format makes of a file; slices in the order in which they begin."""
    tracks: dict[int, tuple[str, ...]] = {}
    names: dict[tuple[int, int], str] = {}
    open_slices: dict[int, list[tuple[int, str, int, dict[str, int]]]] = defaultdict(list)
    found: list[tuple[int, Slice]] = []
    packets = [message(p) for p in message(content)[1]]
    for packet in packets:
        for descriptor in map(message, packet[60]):
            (uuid,), (name,) = descriptor[1], descriptor[2]
            tracks[uuid] = (*(tracks[descriptor[5][0]] if descriptor[5] else ()), name.decode())
        for interned in map(message, packet[12]):
            for field in (2, 3):
                for entry in map(message, interned[field]):
                    names[field, entry[1][0]] = entry[2][0].decode()
    timed = [(p[8][0], message(p[11][0]), p) for p in packets if p[11]]
    for order, (ns, event, packet) in enumerate(sorted(timed, key=lambda t: t[0])):
        uuid = event[11][0]
        if event[9] == [1]:
            notes = {names[3, n[1][0]]: n[3][0] for n in map(message, event[4])}
            open_slices[uuid].append((order, names[2, event[10][0]], ns, notes))
            continue
        begun, name, start, facts = open_slices[uuid].pop()
        first, lasts = facts.pop("start_ps"), facts.pop("duration_ps")
        assert (start, ns) == (first // 1000, (first + lasts) // 1000)
        root, *track = tracks[uuid]
        assert root == "sampler step"
        found.append((begun, Slice(tuple(track), name, first, first + lasts, facts)))
        assert packet[10] == [1]
    assert not any(open_slices.values())
    return [s for _, s in sorted(found, key=lambda f: f[0])]


def by_track(slices: list[Slice]) -> dict[tuple[str, str], list[Slice]]:
    found = defaultdict(list)
    for s in slices:
        found[s.track].append(s)
    return found


def test_protobuf_reads_back(slices: list[Slice], tmp_path: Path) -> None:
    path = tmp_path / "a.perfetto-trace"
    assert write_trace(iter(slices), path) == len(slices)
    assert by_track(read_perfetto(path.read_bytes())) == by_track(slices)
    write_trace(slices, tmp_path / "a.json")
    assert path.stat().st_size < (tmp_path / "a.json").stat().st_size / 2


def test_protobuf_by_the_published_schema(slices: list[Slice], tmp_path: Path) -> None:
    schema = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    write_trace(slices, tmp_path / "a.perfetto-trace")
    trace = schema.Trace.FromString((tmp_path / "a.perfetto-trace").read_bytes())
    events = [p for p in trace.packet if p.HasField("track_event")]
    assert len(events) == 2 * len(slices)
    begin = [p for p in events if p.track_event.type == schema.TrackEvent.TYPE_SLICE_BEGIN]
    notes = [a.uint_value for a in begin[0].track_event.debug_annotations]
    assert notes == [*slices[0].facts.values(), slices[0].start_ps, slices[0].end_ps - slices[0].start_ps]


def refused(run: Run, step: int = STEP, model: str | None = None) -> str:
    with pytest.raises(NsimError) as error:
        replay(run, step, model)
    return str(error.value)


def test_replays_that_are_refused(run: Run, model_file: Path, tmp_path: Path) -> None:
    assert refused(run, 2) == "sampler step 2: the run measured the steps 0 to 1"
    assert refused(run) == "the run's model 'tiny' is not a bundled one; say where it is with --model"
    other = tmp_path / "tiny.pt"
    content = torch.load(model_file, weights_only=True)
    torch.save({**content, "x_T": content["x_T"] + 1}, other)
    digest = run.manifest["model"]["sha256"][:12]
    assert refused(run, model=str(other)) == (
        f"{other}: not the model of the run, which has SHA-256 {digest}...; give the right file with --model"
    )
    changed = tmp_path / "run"
    shutil.copytree(run.folder.path, changed)
    shutil.copyfile(changed / "events" / "0000.parquet", changed / "events" / "0001.parquet")
    assert refused(Run.open(changed), model=str(model_file)).startswith(
        f"{changed}: played again, sampler step 1 has other counts of "
    )


def test_files_that_are_refused(slices: list[Slice], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, message in {
        "a.txt": "a trace is a .json (small) or a .perfetto-trace (any size) file",
        "none/a.json": f"there is no folder {tmp_path / 'none'}",
    }.items():
        with pytest.raises(RunError) as error:
            write_trace(slices, tmp_path / name)
        assert str(error.value) == f"{tmp_path / name}: {message}"
    monkeypatch.setattr(trace_files, "JSON_LIMIT", len(slices) - 1)
    with pytest.raises(RunError) as error:
        write_trace(slices, tmp_path / "a.json")
    assert str(error.value) == (
        f"a step of more than {len(slices) - 1:,} slices is too large for JSON; write a .perfetto-trace file"
    )
    assert not list(tmp_path.iterdir())


def test_command(
    run: Run, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slices: list[Slice]
) -> None:
    from typer.testing import CliRunner

    from nsim.cli import app

    out = tmp_path / "step.json"
    arguments = [
        "trace",
        str(run.folder.path),
        "--step",
        str(STEP),
        "--model",
        str(model_file),
        "--out",
        str(out),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert f"{len(slices):,} slices written to" in result.output
    assert out.stat().st_size > 0
