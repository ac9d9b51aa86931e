"""A latent, a prior and a decoder of one's own, a file each, through all that a run does."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import sentences
from small_run import metrics_without_times, training_command, write_text_corpus

from spherical_vae import evaluate, generate, train
from spherical_vae.config import base_config
from spherical_vae.config.validation import validate
from spherical_vae.data.batch import END_ID
from spherical_vae.models.decoders import build_decoder
from spherical_vae.models.latents import LATENTS, LatentKind, build_latent
from spherical_vae.models.latents.latent import latent_hyperparameters
from spherical_vae.system.errors import UserError
from spherical_vae.system.registry import Registry

LATENT = {"latent.kind": "extensions.laplace_latent", "decoder.kind": "bag_of_words"}
PRIOR = {"latent.kind": "gaussian", "prior.kind": "extensions.flow_prior"}
DECODER = {
    "decoder.kind": "extensions.transformer_decoder",
    "decoder.inputless": False,
    "decoder.layers": 2,
}


@pytest.mark.parametrize(
    "settings",
    [LATENT, pytest.param(PRIOR | DECODER | {"decoder.layers": 1}, marks=pytest.mark.slow)],
)
def test_train_resume_evaluate_and_generate(settings, tmp_path, capsys):
    corpus = write_text_corpus(tmp_path / "corpus")

    def arguments(workdir, steps):
        more = {"train.steps": steps, "train.log_every": 1, "train.checkpoint_every": 0}
        return training_command(corpus, workdir, settings, more)[3:]

    for steps in (2, 4):
        train.main(arguments(tmp_path / "run", steps))
    log = metrics_without_times(tmp_path / "run")
    last = max(line["step"] for line in log)
    assert last == 4
    capsys.readouterr()
    evaluate.main([f"--workdir={tmp_path / 'run'}", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["kl_nats"] > 0
    assert result["iw_nll_nats"] <= result["nll_nats"]
    generate.main([f"--workdir={tmp_path / 'run'}", "--count=3", "--label=1"])
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_free_nats_per_factor_need_a_registered_kl(tmp_path):
    corpus, factors = write_text_corpus(tmp_path / "corpus"), {"rate.free_nats_per": "factor"}
    settings = LATENT | factors | {"rate.free_nats": 2.0}
    with pytest.raises(UserError, match=r"rate\.free_nats_per: .* example with this latent"):
        train.main(training_command(corpus, tmp_path / "run", settings)[3:])


def test_the_transformer_writes_what_it_scores():
    config = base_config()
    config.update_from_flattened_dict(DECODER | {"decoder.hidden_size": 8})
    batch = sentences(rows=3)
    decoder = build_decoder(config, 12)
    z = jax.random.normal(jax.random.key(0), (1, 3, 4))
    conditions, embeddings = jnp.zeros((3, 0)), jax.random.normal(jax.random.key(1), (12, 6))
    variables = jax.jit(decoder.init)(jax.random.key(2), z, conditions, batch, embeddings)
    scored = jax.jit(decoder.apply)(variables, z, conditions, batch, embeddings)[0]
    take_step = jax.jit(partial(decoder.apply, method="step"))
    steps = batch.ids.shape[1]
    carry = decoder.apply(variables, z[0], steps, method="start")
    previous, total = jnp.full(3, END_ID), np.zeros(3)
    for place in range(steps):
        carry, logits = take_step(variables, carry, z[0], conditions, previous, embeddings)
        previous = batch.ids[:, place]
        chosen = jax.nn.log_softmax(logits)[jnp.arange(3), previous]
        total += np.asarray(chosen * batch.counts[:, place])
    np.testing.assert_allclose(scored, total, rtol=1e-5)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("decoder.kind", "extensions.nothing"),
        ("decoder.kind", "extensions.laplace_latent"),
        ("latent.kind", "json.decoder"),
        ("latent.kind", "laplace_latent"),
        ("latent.kind", "./extensions/laplace_latent.py"),
        ("prior.kind", "extensions.laplace_latent"),
        ("state_dropout_rate", 0.1),
        ("decoder.tied_embeddings", True),
    ],
)
def test_what_describes_no_kind_and_what_a_kind_does_not_read_is_an_error(key, value):
    config = base_config()
    config.update_from_flattened_dict(DECODER | {key: value})
    with pytest.raises(UserError, match=key):
        validate(config)


def test_the_table_lists_its_own_kinds():
    table = Registry({"one": LatentKind("module", "One")})
    assert list(table) == ["one"]
    assert len(table) == 1
    assert table["extensions.laplace_latent"].label == "Laplace"
    with pytest.raises(UserError, match="'two' given, allowed: one, or a module of your own"):
        table["two"]
    assert "two" not in table
    assert table.get("absent.module") is None


def test_a_latent_whose_coordinates_are_no_event_is_told(monkeypatch):
    """Its author has forgotten `to_event`."""
    from extensions.laplace_latent import LaplaceLatent

    plain = LaplaceLatent.distribution
    monkeypatch.setattr(LaplaceLatent, "distribution", lambda *given: plain(*given).base_dist)
    config = base_config()
    config.update_from_flattened_dict(LATENT)
    latent = build_latent(config.latent, config.prior)
    hyper = latent_hyperparameters(config.latent)
    with pytest.raises(UserError, match=r"LaplaceLatent: its posterior .* as by to_event\(1\)"):
        latent.init(jax.random.key(0), jnp.zeros((3, 7)), hyper)


def test_a_module_without_the_function_that_builds_is_told(monkeypatch):
    monkeypatch.setitem(LATENTS, "mine", LatentKind("json", "Mine"))
    config = base_config()
    config.latent.kind = "mine"
    with pytest.raises(UserError, match="module json has no build"):
        build_latent(config.latent, config.prior)
