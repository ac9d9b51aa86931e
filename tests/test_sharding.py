"""Eight devices train as one does; processes of their own, as devices are counted at the start."""

import sys

import numpy as np
import pytest
from small_run import (
    PLATEAU_SGD,
    QUICK_TO_COMPILE,
    STEPS_PER_EPOCH,
    SUPPORT,
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
    "data.vocabulary_size": 14,
}
# Sums over a batch are taken in another order; 20 steps in float32 let that grow from 1e-7.
TOLERANCE = 5e-6


def train(corpus, workdir, flags, *settings):
    run(training_command(corpus, workdir, SETTINGS, *settings), environment(flags=flags))
    contents = checkpoint_contents(workdir)[STEPS]
    params = {
        name: np.frombuffer(content, np.float32)
        for name, content in contents.items()
        if name.startswith("state.params.") and content
    }
    return params, metrics_without_times(workdir)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_text_corpus(tmp_path_factory.mktemp("sharding") / "corpus")


@pytest.fixture(scope="module")
def one_device(corpus, tmp_path_factory):
    return train(corpus, tmp_path_factory.mktemp("one") / "run", QUICK_TO_COMPILE)


@pytest.mark.parametrize("model", [1, 2])
def test_eight_devices_train_as_one(corpus, one_device, tmp_path, model):
    # 20 steps pass the last batch of an epoch, which has fewer examples than rows.
    assert STEPS > STEPS_PER_EPOCH
    params, records = one_device
    sharded, sharded_records = train(corpus, tmp_path / "run", EIGHT_DEVICES, {"mesh.model": model})
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


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"train.batch_size": 12},
            "config.train.batch_size: 12 does not divide over 8 devices; use a multiple of 8",
        ),
        (
            {"train.batch_size": 14, "mesh.model": 2},
            "config.train.batch_size: 14 does not divide over 4 groups of 2 devices; use a "
            "multiple of 4",
        ),
        (
            {"evaluation.batch_size": 12},
            "config.evaluation.batch_size: 12 does not divide over 8 devices; use a multiple of 8",
        ),
        ({"mesh.model": 3}, "config.mesh.model: 3 does not divide the 8 devices here"),
        (
            {"mesh.model": 4},
            "config.mesh.model: 4 does not divide the 14 words of the vocabulary, special ones "
            "included; see config.data.vocabulary_size",
        ),
    ],
)
def test_what_does_not_divide_is_refused(corpus, tmp_path, settings, told):
    command = training_command(corpus, tmp_path / "run", SETTINGS, settings)
    refused = run(command, environment(flags=EIGHT_DEVICES), expect=2)
    # Before it come the lines of the corpus and no others: nothing was compiled.
    assert refused.stderr.splitlines()[-1] == f"error: {told}"
    assert "Traceback" not in refused.stderr


def test_the_vocabulary_lies_in_parts():
    script = SUPPORT / "documents_on_eight_devices.py"
    assert run([sys.executable, script], environment(flags=EIGHT_DEVICES)).stderr == ""
