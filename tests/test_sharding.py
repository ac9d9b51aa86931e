"""Eight devices train as one does; processes of their own, as devices are counted at the start."""

import numpy as np
import pytest
from small_run import (
    PLATEAU_SGD,
    QUICK_TO_COMPILE,
    STEPS_PER_EPOCH,
    checkpoint_contents,
    environment,
    metrics_without_times,
    run,
    training_command,
    write_text_corpus,
)

STEPS = 20
EIGHT_DEVICES = f"{QUICK_TO_COMPILE} --xla_force_host_platform_device_count=8"
# Plain SGD, as Adam's division by a root of squares would blow rounding up where they are tiny.
SETTINGS = {
    **PLATEAU_SGD,
    "optimizer.learning_rate": 1.0,
    "train.steps": STEPS,
    "train.checkpoint_every": 0,
}
# Sums over a batch are taken in another order; 20 steps in float32 let that grow from 1e-7.
TOLERANCE = 5e-6


def train(corpus, workdir, flags, *settings):
    run(training_command(corpus, workdir, SETTINGS, *settings), environment(flags=flags))
    contents = checkpoint_contents(workdir)[STEPS]
    params = {
        name: np.frombuffer(content, np.float32)
        for name, content in contents.items()
        if name.startswith("params.") and content
    }
    return params, metrics_without_times(workdir)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_text_corpus(tmp_path_factory.mktemp("sharding") / "corpus")


@pytest.fixture(scope="module")
def one_device(corpus, tmp_path_factory):
    return train(corpus, tmp_path_factory.mktemp("one") / "run", QUICK_TO_COMPILE)


def test_eight_devices_train_as_one(corpus, one_device, tmp_path):
    # 20 steps pass the last batch of an epoch, which has fewer examples than rows.
    assert STEPS > STEPS_PER_EPOCH
    params, records = one_device
    sharded, sharded_records = train(corpus, tmp_path / "run", EIGHT_DEVICES)
    assert params.keys() == sharded.keys()
    for name, values in params.items():
        np.testing.assert_allclose(sharded[name], values, rtol=0, atol=TOLERANCE, err_msg=name)
    for sharded_record, record in zip(sharded_records, records, strict=True):
        for key, value in record.items():
            expected = value if isinstance(value, str | None) else pytest.approx(value, rel=1e-4)
            assert sharded_record[key] == expected, key


def test_dropout_and_draws_matter_more_than_the_tolerance(corpus, one_device, tmp_path):
    # Else the test above could not see devices that draw other noise than one device does.
    params, _ = one_device
    other, _ = train(corpus, tmp_path / "run", QUICK_TO_COMPILE, {"dropout_rate": 0.0})
    largest = max(np.abs(other[name] - params[name]).max() for name in params)
    assert largest > 1000 * TOLERANCE


def test_a_batch_that_does_not_divide_is_refused(corpus, tmp_path):
    command = training_command(corpus, tmp_path / "run", SETTINGS, {"train.batch_size": 12})
    refused = run(command, environment(flags=EIGHT_DEVICES), expect=2)
    line = refused.stderr.splitlines()[-1]
    assert line.startswith("error: config.train.batch_size: 12 does not divide over 8 devices")
    assert "multiple of 8" in line
    assert "Traceback" not in refused.stderr
