"""Metrics are strict JSON lines, cut at a step, whole after a crash; TensorBoard mirrors them."""

import errno
import json
import math
import os

import jax.numpy as jnp
import numpy as np
import pytest

from spherical_vae.runs.metrics_log import MetricsLog
from spherical_vae.system.errors import UserError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def strict(line):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(line, parse_constant=refuse)


def filled(path, steps=(1, 2, 3)):
    log = MetricsLog(path)
    for step in steps:
        log.write(step, "train", nll_nats=step / 10)
        log.write(step, "valid", nll_nats=step / 5)
    return log


def test_a_file_that_cannot_be_written_is_told(path):
    path.mkdir()
    with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written \("):
        MetricsLog(path).write(1, "train", nll_nats=1.0)


def test_each_record_is_a_line_on_disk_at_once(path):
    log = MetricsLog(path)
    assert log.records() == []
    log.write(20, "train", nll_nats=1.5, examples=64)
    assert path.read_text() == '{"step": 20, "split": "train", "nll_nats": 1.5, "examples": 64}\n'
    log.write(40, "valid", note="é", nested={"a": [1, None]})
    assert log.records()[1] == {
        "step": 40,
        "split": "valid",
        "note": "é",
        "nested": {"a": [1, None]},
    }
    log.close()


def test_arrays_and_numpy_scalars_become_numbers(path):
    with MetricsLog(path) as log:
        log.write(1, "train", a=jnp.float32(0.5), b=np.float64(0.1), c=np.arange(2), d=np.True_)
    record = strict(path.read_text())
    assert record == {"step": 1, "split": "train", "a": 0.5, "b": 0.1, "c": [0, 1], "d": True}


def test_floats_come_back_exactly(path):
    value = 0.1 + 0.2
    with MetricsLog(path) as log:
        log.write(1, "train", nll_nats=value)
        assert log.records()[0]["nll_nats"] == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32(np.nan)])
def test_numbers_that_are_not_finite_are_null(path, value):
    with MetricsLog(path) as log:
        log.write(1, "train", nll_nats=value, several=[1.0, value])
    record = strict(path.read_text())
    assert record["nll_nats"] is None
    assert record["several"] == [1.0, None]


def test_records_past_a_step_are_cut(path):
    with filled(path) as log:
        log.truncate_after(2)
        assert [record["step"] for record in log.records()] == [1, 1, 2, 2]
        log.write(3, "train", nll_nats=0.0)
        assert [record["step"] for record in log.records()] == [1, 1, 2, 2, 3]
        log.truncate_after(-1)
        assert path.read_text() == ""


def test_what_is_kept_is_kept_byte_for_byte(path):
    filled(path, [1, 2]).close()
    before = path.read_bytes()
    filled(path, [3, 4]).close()
    MetricsLog(path).truncate_after(2)
    assert path.read_bytes() == before


def test_cutting_without_a_file_makes_none(path):
    MetricsLog(path).truncate_after(5)
    assert not path.exists()


@pytest.mark.parametrize("torn", ['{"step": 2, "sp', '{"step": 2, "split": "train"}', "\x00\x00"])
def test_a_torn_last_line_is_cut(path, torn):
    filled(path, [1]).close()
    whole = path.read_text()
    path.write_text(whole + torn)
    log = MetricsLog(path)
    assert [record["step"] for record in log.records()] == [1, 1]
    log.truncate_after(2)
    assert path.read_text() == whole


@pytest.mark.parametrize("line", ["", "[]", "3", "{}", '{"step": null}', "{", '{"step": "x"}'])
def test_a_broken_line_in_the_middle_is_named(path, line):
    filled(path, [1]).close()
    path.write_text(line + "\n" + path.read_text())
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 1 is no metrics record"):
        MetricsLog(path).truncate_after(1)
    assert path.read_bytes() == before


def scalars(directory):
    """Returns `(step, tag, value)` of every TensorBoard file, and the purges asked for."""
    from tensorboardX.proto.event_pb2 import Event

    found, purges = [], []
    for file in sorted(directory.iterdir()):
        content = file.read_bytes()
        while content:
            # A record is its length, a checksum, the event, and a checksum.
            length = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            if event.HasField("session_log"):
                purges.append(event.step)
            found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
    return found, purges


def test_scalars_are_mirrored_to_tensorboard(path, tmp_path, capfd):
    with MetricsLog(path, tmp_path / "tensorboard") as log:
        log.write(1, "train", nll_nats=1.5, note="text", nothing=None, bad=math.nan)
        log.write(2, "valid", nll_nats=jnp.float32(2.5), active_units=3)
    found, purges = scalars(tmp_path / "tensorboard")
    assert found == [
        (1, "train/nll_nats", 1.5),
        (2, "valid/nll_nats", 2.5),
        (2, "valid/active_units", 3.0),
    ]
    assert purges == []
    assert capfd.readouterr().err == ""


def test_resuming_tells_tensorboard_what_was_cut(path, tmp_path):
    with MetricsLog(path, tmp_path / "tensorboard") as log:
        log.write(1, "train", nll_nats=1.0)
        log.write(2, "train", nll_nats=2.0)
    with MetricsLog(path, tmp_path / "tensorboard") as log:
        log.truncate_after(1)
        log.write(2, "train", nll_nats=3.0)
    assert scalars(tmp_path / "tensorboard")[1] == [2]


@pytest.mark.parametrize("full_after", [None, 1, 3])
def test_records_go_on_without_their_copy(path, tmp_path, monkeypatch, capfd, full_after):
    """Its folder is a file, or the disk is full after some events."""
    folder, events = tmp_path / "tensorboard", []
    if full_after is None:
        folder.write_text("")
    else:
        from tensorboardX.event_file_writer import EventsWriter

        def write_event(self, event):
            events.append(event)
            if len(events) > full_after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(EventsWriter, "write_event", write_event)
    with MetricsLog(path, folder) as log:
        for step in range(50):
            log.write(step, "train", nll_nats=1.0)
    assert len(log.records()) == 50
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"{folder}: cannot be written (")


def test_what_need_not_be_cut_is_not_written_again(path):
    """On a full disk a finished run can be opened."""
    filled(path).close()
    before = path.stat().st_ino
    MetricsLog(path).truncate_after(3)
    assert path.stat().st_ino == before


def test_no_tensorboard_unless_asked_for(path, tmp_path):
    filled(path).close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.jsonl"]
