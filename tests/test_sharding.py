"""Eight devices train as one does; processes of their own, as devices are counted at the start."""

import json
import sys

import numpy as np
import pytest
from jax.sharding import PartitionSpec
from small_models import small_config
from small_run import (
    PLATEAU_SGD,
    RECURRENT,
    STEPS_PER_EPOCH,
    SUPPORT,
    call,
    checkpoint_contents,
    environment,
    metrics_without_times,
    run,
    training_command,
    write_text_corpus,
)

from spherical_vae import train
from spherical_vae.models.vae import build_vae
from spherical_vae.parallel.sharding import data_mesh, state_shardings
from spherical_vae.training.optimizer import build_optimizer
from spherical_vae.training.step import abstract_state

STEPS = 20
# Plain SGD, as Adam's division by a root of squares would blow rounding up where they are tiny.
SETTINGS = {
    **RECURRENT,
    **PLATEAU_SGD,
    "optimizer.learning_rate": 1.0,
    "train.steps": STEPS,
    "train.checkpoint_every": 0,
    "data.vocabulary_size": 14,
}
REFUSED = [
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
]
# Sums over a batch are taken in another order; 20 steps in float32 let that grow from 1e-7.
TOLERANCE = 5e-6


def on_eight_devices(corpus, *trainings):
    """Calls trainings, each (working directory, settings), in one process; returns their errors."""
    lines = [
        json.dumps([str(word) for word in training_command(corpus, workdir, SETTINGS, more)[3:]])
        for workdir, more in trainings
    ]
    command = [sys.executable, SUPPORT / "trainings_on_devices.py"]
    return json.loads(run(command, environment(8), input="\n".join(lines)).stdout)


def on_one_device(corpus, workdir, *settings):
    call(train.main, *training_command(corpus, workdir, SETTINGS, *settings)[3:])
    return result(workdir)


def result(workdir):
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
    return on_one_device(corpus, tmp_path_factory.mktemp("one") / "run")


@pytest.fixture(scope="module")
def eight_devices(corpus, tmp_path_factory):
    """The results on eight devices, by `mesh.model`, and the messages to what is refused."""
    folder = tmp_path_factory.mktemp("eight")
    trained = [(folder / f"run{model}", {"mesh.model": model}) for model in (1, 2)]
    refused = [(folder / f"{i}", settings) for i, (settings, _) in enumerate(REFUSED)]
    one, other, *messages = on_eight_devices(corpus, *trained, *refused)
    assert one is other is None
    return {model: result(folder / f"run{model}") for model in (1, 2)}, messages


@pytest.mark.parametrize("model", [1, 2])
def test_eight_devices_train_as_one(one_device, eight_devices, model):
    # 20 steps pass the last batch of an epoch, which has fewer examples than rows.
    assert STEPS > STEPS_PER_EPOCH
    params, records = one_device
    sharded, sharded_records = eight_devices[0][model]
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
    other, _ = on_one_device(corpus, tmp_path / "run", {"dropout_rate": 0.0})
    largest = max(np.abs(other[name] - params[name]).max() for name in params)
    assert largest > 1000 * TOLERANCE


def test_what_does_not_divide_is_refused(eight_devices):
    assert eight_devices[1] == [told for _, told in REFUSED]


def test_copies_of_what_is_as_large_as_the_vocabulary_lie_in_parts_too():
    config = small_config(rate__autoencoder_epochs=1, optimizer__average_decay=0.5)
    model = build_vae(config, 14)
    state = abstract_state(model, build_optimizer(config.optimizer), config)
    places = state_shardings(state, data_mesh(1), model.vocabulary_axes)
    kernels = [
        places.params["decoder"]["words"]["kernel"],
        places.average["decoder"]["words"]["kernel"],
        places.first_decoder["words"]["kernel"],
    ]
    assert [kernel.spec for kernel in kernels] == 3 * [PartitionSpec(None, "model")]


@pytest.mark.thorough
def test_the_vocabulary_lies_in_parts():
    run([sys.executable, SUPPORT / "documents_on_eight_devices.py"], environment(8))
