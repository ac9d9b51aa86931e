"""Records: one of some rows leaves what is known of the others, and is of one scale."""

import json

import pytest

from spherical_vae.errors import UserError
from spherical_vae.experiments import table4
from spherical_vae.experiments.records import with_earlier_rows


def record(*names, scale="full", seeds=(0,), mark="new"):
    rows = [{"name": name, "mark": mark} for name in names]
    return {"experiment": "table4", "scale": scale, "seeds": list(seeds), "rows": rows}


def test_rows_that_were_left_out_stay_in_the_order_of_the_experiment(tmp_path):
    first, second, third = (setting.name for setting in table4.settings("full")[:3])
    old = record(third, first, "a row of before", seeds=(0, 1, 2), mark="old")
    (tmp_path / "table4.json").write_text(json.dumps(old), encoding="utf-8")
    found = with_earlier_rows(record(second, third), tmp_path)
    assert [(row["name"], row["mark"]) for row in found["rows"]] == [
        (first, "old"), (second, "new"), (third, "new"),
    ]  # fmt: skip
    assert found["seeds"] == [0, 1, 2]


def test_there_may_be_none_or_one_of_another_scale(tmp_path):
    (tmp_path / "table4-cpu.json").write_text("{}", encoding="utf-8")
    new = record(table4.settings("full")[0].name)
    assert with_earlier_rows(new, tmp_path) == new


def test_what_is_no_record_is_not_overwritten(tmp_path):
    (tmp_path / "table4.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="no record of an experiment"):
        with_earlier_rows(record("any"), tmp_path)
