"""Models on all chips: the rows are those of every layout, refusals among them, and the table holds them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nsim.frontends.model import Model
from nsim.reports.all_chips import all_chips_facts, all_chips_markdown, all_chips_tables, on_all_chips
from nsim.reports.footprint import Footprint, footprint
from tests.command_line import nsim_exit_code, nsim_json
from tests.networks import model_of, random_network

CHIPS = ["loihi", "loihi2", "speck"]


@pytest.fixture(scope="module")
def models() -> list[Model]:
    streams = random_network(("conv", "shortcut"), 1)
    with_decoder = replace(model_of(random_network(("conv",), 2)), decoder=random_network(("down",), 3))
    return [replace(model_of(streams), name="streams"), replace(with_decoder, name="plain")]


def test_every_layout_is_in_a_row_and_equal_ones_share_it(models: list[Model]) -> None:
    rows = on_all_chips(models, CHIPS, 0.3)
    parts = {model.name: model for model in models}
    decoder = models[1].decoder_alone
    assert decoder is not None
    parts[decoder.name] = decoder
    assert [*dict.fromkeys(row.model for row in rows)] == ["streams", "plain", "plain, decoder"]
    seen = set()
    for row in rows:
        for policy in row.footprint.policy.split(", "):
            alone = footprint(parts[row.model], row.footprint.chip, policy, 0.3)  # type: ignore[arg-type]
            assert replace(row.footprint, policy=policy) == alone
            seen.add((row.model, row.footprint.chip, policy))
    expected = {"loihi": ["expand", "host"], "loihi2": ["expand", "host", "graded", "colocate"]}
    assert seen == {
        (name, chip, policy)
        for name in parts
        for chip in CHIPS
        for policy in expected.get(chip, ["expand", "host"])
    }
    plain = [r.footprint.policy for r in rows if (r.model, r.footprint.chip) == ("plain", "loihi2")]
    assert plain == ["expand, host, graded, colocate"]  # no stream in it


def test_a_refusal_is_a_row_with_its_reason_and_without_the_way_out(models: list[Model]) -> None:
    rows = on_all_chips(models[:1], ["speck"], 0.3)
    (expand,) = (row for row in rows if row.footprint.policy == "expand")
    assert expand.footprint.refused == (
        "n2: needs 2 kernels, a speck core has at most 1; use a simpler model or another chip"
    )
    assert expand.footprint.in_short == "n2: needs 2 kernels, a speck core has at most 1"
    (facts, *_) = all_chips_facts(rows, 0.3)["rows"]
    assert (facts["model"], facts["chip"], facts["cores"]) == ("streams", "speck", None)


def test_on_crossbars_sums_are_tried_whole_and_in_parts(models: list[Model]) -> None:
    rows = on_all_chips(models[:1], ["truenorth"], 0.3)
    assert [(row.footprint.policy, row.footprint.options) for row in rows] == [
        ("expand", "--weight-bits 2 --partial-sums none"),
        ("expand", "--weight-bits 2 --partial-sums relay"),
    ]
    in_parts = footprint(models[0], "truenorth", "expand", 0.3, weight_bits=2, partial_sums="relay")
    assert rows[1].footprint == in_parts


def test_markdown_has_a_row_for_each_and_numbered_notes(models: list[Model]) -> None:
    rows = on_all_chips(models, CHIPS, 0.3)
    lines = all_chips_markdown(rows, 0.3).splitlines()
    table = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    assert len(table) == len(rows) + 2
    assert len({len(line.split("|")) for line in lines if line.startswith("|")}) == 1
    for row, cells in zip(rows, table[2:], strict=True):
        assert cells[:3] == [row.model, row.footprint.chip, row.footprint.policy]  # no crossbars: no options
        note = cells[-1]
        if row.footprint.refused:
            assert note == row.footprint.in_short
        elif row.footprint.in_short:
            assert f"{note.strip('[]')}. {row.footprint.in_short}" in lines
    assert "* plain: random" in lines


def test_energy_that_is_unknown_is_said_to_be(models: list[Model]) -> None:
    (first, *_) = on_all_chips(models[1:], ["loihi2"], 0.3)
    assert isinstance(first.footprint, Footprint)
    assert first.footprint.energy_uj is None
    assert first.footprint.in_short.startswith("Intel has published no energy")
    (table, *below) = all_chips_tables([first], 0.3)
    assert table.row_count == 1  # type: ignore[union-attr]
    assert list(table.columns[-1].cells) == ["[1]"]  # type: ignore[union-attr]
    assert below == [f"1. {first.footprint.in_short}", "plain: random"]


def test_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    facts = nsim_json(monkeypatch, capsys, "footprint", "sddpm-digits", "--chip", "speck,loihi2")
    mapped = nsim_json(monkeypatch, capsys, "map", "sddpm-digits", "--chip", "loihi2")
    by_policy = {row["policy"]: row for row in mapped["policies"]}
    found = [row for row in facts["rows"] if row["chip"] == "loihi2"]
    assert len(found) == 4
    for row in found:
        assert {key: row[key] for key in by_policy["expand"]} == by_policy[row["policy"]]
    assert nsim_exit_code(monkeypatch, "footprint", "sddpm-digits", "--chip", "nowhere") == 2
    assert capsys.readouterr().err.startswith("nsim: no chip 'nowhere'. Bundled: digital45, loihi")
