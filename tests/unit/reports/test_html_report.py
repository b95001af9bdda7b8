"""The page of a run: whole in one file, right in its numbers, and without an error in a real browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import nsim
from nsim.frontends.network import Network
from nsim.reports.causes import group_of
from nsim.reports.html_report import CAPTIONS, write_report
from nsim.reports.plain_words import confidence_shares, dominates, lead, trust
from nsim.reports.run import Run
from nsim.reports.run_plots import FIGURES
from nsim.reports.run_sampler import run_sampler
from nsim.reports.tables import per_call_facts
from tests.networks import model_of

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)


@pytest.fixture(scope="module")
def run(tiny_network: Network) -> Run:
    model = replace(model_of(tiny_network, "ddim:3"), name="<script>alert(1)</script>")
    return run_sampler(nsim.map(model, "loihi"), images=2, threads=1)


@pytest.fixture(scope="module")
def page(run: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    path = write_report(run, folder / "report.html")
    assert list(folder.iterdir()) == [path]
    return path.read_text(encoding="utf-8")


def test_it_asks_the_network_for_nothing(page: str) -> None:
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:)""", page)
    assert not re.search(r"url\(\s*['\"]?(?!#)", page)
    assert "@import" not in page and "<script src" not in page and "fetch(" not in page


def test_every_figure_is_in_it_once(page: str) -> None:
    assert set(CAPTIONS) == set(FIGURES)
    for name, caption in CAPTIONS.items():
        assert page.count(f'aria-label="{caption}"') == 1, name
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))
    used = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert used and used <= set(identifiers)


def test_contents_lead_to_sections(page: str) -> None:
    contents = re.findall(r'<li><a href="#(\w+)">', page)
    assert contents == re.findall(r'<section id="(\w+)">', page)
    assert len(contents) == 10


def test_numbers_are_the_runs(page: str, run: Run) -> None:
    text = html.unescape(page)
    for row in run.report.by_cause().itertuples(index=False):
        assert f">{row.cause}</td>" in text
        assert f">{row.count:,.0f}</td>" in text
    table = text[text.index("By layer, as traced and as laid out, whole run") :]
    for row in run.layer_operations().itertuples(index=False):
        cells = table[table.index(f"<td>{row.layer}</td>") :].partition("</tr>")[0]
        for count in (row.traced_ac, row.traced_mac, row.laid_out_ac, row.laid_out_mac):
            assert f">{count / 1e6:,.3f}</td>" in cells
    for name in run.report.unknown:
        assert f"{name.replace('_', ' ')}: " in text
    assert run.manifest["chip_sha256"] in text and "weights (random)" in text


def test_plain_words(run: Run) -> None:
    per_call = per_call_facts(run)
    assert lead(run, per_call).startswith("One denoiser call of one image costs ")
    assert "The whole run of 6 calls: " in lead(run, per_call)
    causes = run.report.by_cause()
    shares = causes.groupby(causes["cause"].map(group_of))["energy_pj"].sum() / run.report.total_pj
    largest = shares.idxmax()
    sentences = dominates(run, per_call)
    assert sentences[0].startswith(f"{shares.max():.0%} {largest}: ")
    assert len(sentences) == (shares >= 0.02).sum()
    assert sum(confidence_shares(run).values()) == pytest.approx(1.0)


def test_a_name_cannot_break_the_page(page: str) -> None:
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("<script>") == 1


def browse(page: str, folder: Path) -> tuple[str, list[str]]:
    """The page as a browser leaves it after its scripts, and what it wrote to the console."""
    assert BROWSER is not None
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    command = [
        *(BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"),
        *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000", "--dump-dom", path.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_in_a_browser(page: str, tmp_path: Path) -> None:
    """No console message; a click sorts by number, the next one turns the order round."""
    clicks = """
    const table = document.querySelectorAll("table.sortable")[2], column = 1;
    const read = () => Array.from(table.tBodies[0].rows, (row) => row.cells[column].dataset.sort);
    const out = {};
    for (const name of ["first", "second"]) {
      table.tHead.rows[0].cells[column].querySelector("button").click();
      out[name] = read();
    }
    document.body.dataset.sorted = JSON.stringify(out);
    """
    shown, console = browse(page.replace("</body>", f"<script>{clicks}</script></body>"), tmp_path)
    assert console == []
    found = re.search(r'data-sorted="([^"]+)"', shown)
    assert found is not None
    order = {name: [float(v) for v in values] for name, values in json.loads(html.unescape(found[1])).items()}
    assert len(order["first"]) > 10
    assert order["first"] == sorted(order["first"], reverse=True)
    assert order["second"] == sorted(order["second"])


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_broken_script_would_be_seen(tmp_path: Path) -> None:
    _, console = browse("<!DOCTYPE html><title>x</title><script>nothing.here()</script>", tmp_path)
    assert len(console) == 1 and "nothing is not defined" in console[0]


def test_steps_that_were_not_measured_are_not_called_counted(tiny_network: Network) -> None:
    mapping = nsim.map(model_of(tiny_network, "ddim:6"), "loihi")
    run = run_sampler(mapping, threads=1, detail_steps="n:3")
    said = trust(run)[0]
    assert said.startswith("Counted, exact at 3 of 6 sampler steps, the others taken to be as their nearest")
    assert "by this alone, 95 %" in said
    assert run.plot.link_map().axes and run.plot.tornado().axes
