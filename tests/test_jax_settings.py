"""Whatever a process has set in JAX, models are trained, resumed and measured in the same way."""

import json

import jax
import jax.numpy as jnp
import pytest
from small_run import (
    QUICK_TO_COMPILE,
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

pytestmark = pytest.mark.usefixtures("quick_to_compile")

SETTINGS = [
    ("jax_enable_x64", True),
    ("jax_numpy_dtype_promotion", "strict"),
    ("jax_transfer_guard", "disallow"),
    ("jax_default_prng_impl", "rbg"),
    ("jax_threefry_partitionable", False),
    ("jax_numpy_rank_promotion", "raise"),
    ("jax_debug_nans", True),
    ("jax_default_device", "cpu"),
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory, quick_to_compile):
    """A corpus, and what is found after training on it with JAX as it is."""
    folder = tmp_path_factory.mktemp("settings")
    corpus = write_text_corpus(folder / "corpus")
    train.main(arguments(corpus, folder / "run", 3))
    return corpus, folder / "run"


def arguments(corpus, workdir, steps):
    return training_command(corpus, workdir, {"train.steps": steps, "train.log_every": 1})[3:]


def look(workdir, capsys):
    """Returns what the commands say of a run, without how fast they were."""
    capsys.readouterr()
    evaluate.main([f"--workdir={workdir}", "--json"])
    evaluated = capsys.readouterr().out
    generate.main([f"--workdir={workdir}", "--label=1"])
    return without_rates(json.loads(evaluated)), capsys.readouterr().out


def test_they_end_with_the_context():
    with jax.enable_x64(True):
        with settings_of_models():
            assert jnp.arange(3.0).dtype == jnp.float32
        assert jnp.arange(3.0).dtype == jnp.float64
    with jax.transfer_guard("disallow"), settings_of_models():
        assert float(jax.jit(jnp.sin)(0.0)) == 0.0


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_a_run_is_the_same_under_every_setting(reference, tmp_path, capsys, name, value):
    corpus, workdir = reference
    told = look(workdir, capsys)
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        # Stopped, and resumed.
        train.main([*arguments(corpus, tmp_path / "run", 3), "--config.train.checkpoint_every=1"])
        again = look(tmp_path / "run", capsys)
    finally:
        jax.config.update(name, before)
    assert metrics_without_times(tmp_path / "run") == metrics_without_times(workdir)
    mine, theirs = (checkpoint_contents(folder) for folder in (tmp_path / "run", workdir))
    assert mine[3] == theirs[3]
    assert again == told


@pytest.mark.slow
def test_without_compilation_a_run_is_the_same_but_for_rounding(reference, tmp_path):
    # In processes: the types that are checked in tests are those of what is compiled.
    corpus, _ = reference
    plain = environment(flags=QUICK_TO_COMPILE)
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


def test_processes_are_the_same_too(reference, tmp_path):
    corpus, _ = reference
    plain = environment(flags=QUICK_TO_COMPILE)
    changed = plain | {
        "JAX_ENABLE_X64": "1",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_TRANSFER_GUARD": "disallow",
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
    }
    for name, variables in (("plain", plain), ("changed", changed)):
        settings = {"train.steps": 2, "train.log_every": 1}
        run(training_command(corpus, tmp_path / name, settings), variables)
    assert checkpoint_contents(tmp_path / "changed") == checkpoint_contents(tmp_path / "plain")
    run(command("evaluate", f"--workdir={tmp_path / 'changed'}"), changed)
