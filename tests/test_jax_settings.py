"""Whatever a process has set in JAX, models are trained, resumed and measured in the same way."""

import json

import jax
import jax.numpy as jnp
import pytest
from small_run import (
    call,
    checkpoint_contents,
    command,
    environment,
    metrics_without_times,
    run,
    training_command,
    without_rates,
    write_text_corpus,
)

from spherical_vae import evaluate, generate, train
from spherical_vae.system.jax_settings import settings_of_models

# Every test runs with `jax_numpy_rank_promotion` at "raise". A setting that is not held off changes
# the numbers, or raises; within a group none hides what another does.
GROUPS = {
    "types and keys": {
        "jax_enable_x64": True,
        "jax_numpy_dtype_promotion": "strict",
        "jax_threefry_partitionable": False,
    },
    "keys and transfers": {
        "jax_default_prng_impl": "rbg",
        "jax_transfer_guard": "disallow_explicit",
        "jax_debug_nans": True,
        "jax_default_device": "cpu",
    },
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A corpus, a run on it with JAX as it is, and what the commands say of that run."""
    folder = tmp_path_factory.mktemp("settings")
    corpus = write_text_corpus(folder / "corpus")
    call(train.main, *arguments(corpus, folder / "run"))
    return corpus, folder / "run", look(folder / "run")


def arguments(corpus, workdir):
    settings = {"train.steps": 2, "train.log_every": 1, "train.checkpoint_every": 0}
    return training_command(corpus, workdir, settings)[3:]


def look(workdir):
    """Returns what the commands say of a run, without how fast they were."""
    evaluated = json.loads(call(evaluate.main, f"--workdir={workdir}", "--json").stdout)
    written = call(generate.main, f"--workdir={workdir}", "--label=1").stdout
    return without_rates(evaluated), written


def test_they_end_with_the_context():
    with jax.enable_x64(True):
        with settings_of_models():
            assert jnp.arange(3.0).dtype == jnp.float32
        assert jnp.arange(3.0).dtype == jnp.float64
    with jax.transfer_guard("disallow"), settings_of_models():
        assert float(jax.jit(jnp.sin)(0.0)) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_a_run_is_the_same_under_every_setting(reference, tmp_path, group):
    corpus, workdir, told = reference
    before = {name: getattr(jax.config, name) for name in GROUPS[group]}
    try:
        for name, value in GROUPS[group].items():
            jax.config.update(name, value)
        call(train.main, *arguments(corpus, tmp_path / "run"))
        again = look(tmp_path / "run")
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
    assert metrics_without_times(tmp_path / "run") == metrics_without_times(workdir)
    assert checkpoint_contents(tmp_path / "run") == checkpoint_contents(workdir)
    assert again == told


@pytest.mark.slow
def test_without_compilation_a_run_is_the_same_but_for_rounding(reference, tmp_path):
    # In processes: the types that are checked in tests are those of what is compiled.
    corpus, _, _ = reference
    plain = environment()
    uncompiled = plain | {"JAX_DISABLE_JIT": "1"}
    metrics = []
    for name, variables in (("plain", plain), ("uncompiled", uncompiled)):
        settings = {"train.steps": 2, "train.log_every": 1, "evaluation.importance_samples": 1}
        run(training_command(corpus, tmp_path / name, settings), variables)
        metrics.append(metrics_without_times(tmp_path / name))
    for one, other in zip(*metrics, strict=True):
        for key, value in one.items():
            assert other[key] == (pytest.approx(value, rel=1e-4) if value != other[key] else value)
    run(command("evaluate", f"--workdir={tmp_path / 'plain'}", "--split=valid"), uncompiled)


@pytest.mark.thorough
def test_a_process_is_the_same_too(reference, tmp_path):
    corpus, workdir, _ = reference
    changed = environment() | {
        "JAX_ENABLE_X64": "1",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_TRANSFER_GUARD": "disallow",
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
    }
    run(command("train", *arguments(corpus, tmp_path / "run")), changed)
    assert checkpoint_contents(tmp_path / "run") == checkpoint_contents(workdir)
