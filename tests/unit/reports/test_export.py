"""What other programs get: every row as CSV, pages as LaTeX, tables in notebooks."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

import nsim
from nsim.frontends.network import Network
from nsim.hw_models.mapping.mapping import Mapping
from nsim.reports.export import TABLES, export
from nsim.reports.run import Run
from nsim.reports.run_sampler import run_sampler
from tests.networks import model_of


@pytest.fixture(scope="module")
def mapping(tiny_network: Network) -> Mapping:
    return nsim.map(model_of(tiny_network, "ddim:2"), "loihi")


@pytest.fixture(scope="module")
def run(mapping: Mapping) -> Run:
    return run_sampler(mapping, threads=1)


def test_csv_holds_every_row(run: Run, tmp_path: Path) -> None:
    files = export(run, "csv", tmp_path / "new")
    assert [f.name for f in files] == [*(f"{name}.csv" for name in TABLES), "manifest.json"]
    for name, file in zip(TABLES, files, strict=False):
        mine = getattr(run, name)()
        read = pd.read_csv(file).astype({c: t for c, t in mine.dtypes.items() if c != "core"})
        pd.testing.assert_frame_equal(read, mine, check_dtype=False)
    assert json.loads(files[-1].read_text()) == run.manifest


def test_latex(run: Run, tmp_path: Path) -> None:
    files = {f.stem: f.read_text() for f in export(run, "latex", tmp_path)}
    assert list(files) == [
        "energy_by_cause",
        "energy_by_layer",
        "latency",
        "counts",
        "operations",
        "utilization",
    ]
    for text in files.values():
        comments = [line for line in text.splitlines() if line.startswith("%")]
        assert json.loads("".join(line[2:] for line in comments)) == run.folder.provenance
        assert text.count("\\begin{tabular}") == text.count("\\bottomrule") == 1
    causes = files["energy_by_cause"]
    spikes = run.report.by_cause().set_index("cause").loc["spike", "count"]
    assert f"spike & {spikes:,} & " in causes
    bias_writes = run.report.by_cause().set_index("cause").loc["bias_write", "count"]
    assert f"bias\\_write & {bias_writes:,} & in embedded\\_processor & n/a \\\\" in causes
    assert "barrier & 46 & n/a & n/a \\\\" in causes
    assert files["latency"].count(" \\\\\n") == 1 + 2


def test_utilization(run: Run, mapping: Mapping) -> None:
    use = run.utilization()
    assert list(use.columns) == ["layer", "core", "resource", "used", "available", "share"]
    for resource, (used, available) in mapping.utilization().items():
        if resource != "cores":
            mine = use[use["resource"] == resource]
            assert (mine["used"].sum(), mine["available"].sum()) == (used, available)
    assert use["share"].between(0, 1).all()


class Tags(HTMLParser):
    """Checks that every tag is closed, and counts table rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows = 0
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.rows += tag == "tr"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_notebooks(run: Run, mapping: Mapping, tiny_network: Network) -> None:
    network = Tags(tiny_network._repr_html_())
    assert network.text.startswith("tiny: T = 4, 19 spiking layers")
    assert "conv -> neuron" not in network.text and "downblocks.0.conv1" in network.text
    layout = Tags(mapping._repr_html_())
    assert f"tiny on Intel Loihi: {mapping.core_count} cores on 1 chip(s)" in layout.text
    assert layout.rows == 1 + 5 + 1 + len(mapping.grids)
    report = Tags(run.report._repr_html_())
    assert report.rows == 1 + run.report.cells["cause"].nunique()
    assert "no published figure, not in the total: barrier: Not published." in report.text
    whole = Tags(run._repr_html_())
    assert "tiny (weights: random)" in whole.text and report.text in whole.text
    for parsed in (network, layout, report, whole):
        assert parsed.open == []


def test_text_is_escaped() -> None:
    from nsim.html_table import html_table

    assert Tags(html_table("<b>", ["a&b"], [["<i>", None, 1, 0.5]], "x<y")).text == "<b>a&b<i>10.5x<y"
