"""Records: one of some rows leaves what is known of the others, and is of one scale."""

import json
import threading

import pytest

from spherical_vae.experiments import records, table4
from spherical_vae.experiments.records import keep, with_earlier_rows, write
from spherical_vae.system.errors import UserError
from spherical_vae.system.folder_lock import lock_folder

SETTINGS = table4.settings("full")[:3]
FIRST, SECOND, THIRD = (setting.name for setting in SETTINGS)


def row(name, mark, seeds=(0,)):
    (setting,) = (s for s in SETTINGS if s.name == name)
    chosen = setting.alternatives[0]
    runs = [{"seed": seed, "command": setting.run(chosen, seed).command} for seed in seeds]
    tried = [dict(alternative) for alternative in setting.alternatives]
    return {"name": name, "mark": mark, "alternatives": tried, "chosen": chosen, "runs": runs}


def record(*rows, seeds=(0,)):
    command = f"python -m spherical_vae.experiments table4 --scale=full --seeds={len(seeds)}"
    return {
        "experiment": "table4",
        "scale": "full",
        "seeds": list(seeds),
        "command": command,
        "rows": list(rows),
    }


def put(folder, record):
    (folder / "table4.json").write_text(json.dumps(record), encoding="utf-8")


def marks(record):
    return [(row["name"], row["mark"]) for row in record["rows"]]


def test_rows_that_were_left_out_stay_in_the_order_of_the_experiment(tmp_path):
    gone = row(FIRST, "old") | {"name": "a row of before"}
    put(tmp_path, record(row(THIRD, "old"), row(FIRST, "old"), gone))
    found = with_earlier_rows(record(row(SECOND, "new"), row(THIRD, "new")), tmp_path)
    assert marks(found) == [(FIRST, "old"), (SECOND, "new"), (THIRD, "new")]


def test_what_was_run_with_more_seeds_stays_and_the_command_names_them(tmp_path):
    many = (0, 1, 2)
    put(tmp_path, record(row(FIRST, "old", many), row(SECOND, "old", many), seeds=many))
    found = with_earlier_rows(record(row(FIRST, "new", ()), row(THIRD, "new")), tmp_path)
    assert marks(found) == [(FIRST, "old"), (SECOND, "old"), (THIRD, "new")]
    assert found["seeds"] == [0, 1, 2]
    assert found["command"].endswith("--seeds=3")


def test_a_row_that_is_trained_otherwise_today_is_dropped(tmp_path):
    old = [row(FIRST, "old"), row(SECOND, "old"), row(THIRD, "old")]
    old[0]["runs"][0]["command"] += " --config.dropout_rate=0.9"
    old[1]["runs"][0] |= {"command": "of a sweep", "sweep": {"replicas": 2}}
    put(tmp_path, record(*old))
    found = with_earlier_rows(record(row(THIRD, "new")), tmp_path)
    assert marks(found) == [(SECOND, "old"), (THIRD, "new")]

    old[1]["alternatives"] = old[1]["alternatives"][:2]
    put(tmp_path, record(*old))
    assert marks(with_earlier_rows(record(row(THIRD, "new")), tmp_path)) == [(THIRD, "new")]


def test_there_may_be_none_or_one_of_another_scale(tmp_path):
    (tmp_path / "table4-cpu.json").write_text("{}", encoding="utf-8")
    new = record(row(FIRST, "new"))
    assert with_earlier_rows(new, tmp_path) == new


def test_what_is_no_record_is_not_overwritten(tmp_path):
    put(tmp_path, {})
    with pytest.raises(UserError, match="no record of an experiment"):
        with_earlier_rows(record(row(FIRST, "new")), tmp_path)


def test_a_record_is_written_with_its_tables(tmp_path):
    paths = write(record(), tmp_path / "new folder")
    assert [path.name for path in paths] == ["table4.json", "table4.md"]
    assert json.loads(paths[0].read_text(encoding="utf-8")) == record()
    assert "| row | paper |" in paths[1].read_text(encoding="utf-8")


def test_what_is_not_here_is_not_lost_with_the_next_record(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "draw", lambda record, results: [])
    many = (0, 1, 2)
    old = record(row(FIRST, "old", many), row(SECOND, "old", many), seeds=many)
    put(tmp_path, old)
    absent = [row(setting.name, "new", ()) for setting in SETTINGS]
    for one in absent:
        one |= {"missing": "not run", "chosen": None}
    keep(record(*absent), tmp_path)
    kept = json.loads((tmp_path / "table4.json").read_text(encoding="utf-8"))
    assert marks(kept) == [(FIRST, "old"), (SECOND, "old"), (THIRD, "new")]
    assert kept["seeds"] == [0, 1, 2]


def test_a_record_is_read_and_written_in_one_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "draw", lambda record, results: [])
    with lock_folder(tmp_path, ".lock"):
        writer = threading.Thread(target=keep, args=(record(row(FIRST, "new")), tmp_path))
        writer.start()
        # Were it not waiting, it would be done in milliseconds, and would not see what comes now.
        writer.join(timeout=0.5)
        put(tmp_path, record(row(SECOND, "old")))
    writer.join()
    kept = json.loads((tmp_path / "table4.json").read_text(encoding="utf-8"))
    assert marks(kept) == [(FIRST, "new"), (SECOND, "old")]
