"""What a sweep may differ by, how it is written, and every mistake in it told in one line."""

import pytest
from small_models import small_config

from spherical_vae import train
from spherical_vae.config.effects import without_effect
from spherical_vae.config.sweeps import (
    SWEEPABLE,
    build_replicas,
    parse_sweep,
)
from spherical_vae.config.validation import flatten
from spherical_vae.models.latents import LatentKind
from spherical_vae.system.errors import UserError


def replicas_of(text, **overrides):
    return build_replicas(small_config(**overrides), parse_sweep(text))


def complaint(text, **overrides):
    with pytest.raises(UserError) as caught:
        replicas_of(text, **overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_axes_are_multiplied_and_the_last_is_the_fastest():
    assert parse_sweep("seed=3,1; latent.concentration = 40, 8e1") == [
        {"seed": 3, "latent.concentration": 40.0},
        {"seed": 3, "latent.concentration": 80.0},
        {"seed": 1, "latent.concentration": 40.0},
        {"seed": 1, "latent.concentration": 80.0},
    ]


def test_a_replica_has_the_config_of_a_single_run():
    config = small_config().lock()
    (replica,) = build_replicas(
        config, [{"latent.concentration": 40, "optimizer.schedule": "plateau"}]
    )
    assert replica.name == "latent.concentration=40,optimizer.schedule=plateau"
    assert replica.settings == {"latent.concentration": 40.0, "optimizer.schedule": "plateau"}
    expected = flatten(config) | replica.settings
    assert flatten(replica.config) == expected
    assert replica.config.is_locked
    assert config.latent.concentration == 6.0


def test_every_key_that_can_be_swept_exists():
    assert flatten(small_config()).keys() >= set(SWEEPABLE)


def test_names_tell_numbers_apart():
    text = "optimizer.learning_rate=1e-5,1.00001e-5,0.1,100,1e20;latent.concentration=0"
    names = [replica.name for replica in replicas_of(text)]
    assert names[0] == "optimizer.learning_rate=1e-05,latent.concentration=0"
    assert len(set(names)) == 5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "'' given, allowed: KEY=VALUE,VALUE"),
        ("seed", "'seed' given, allowed: KEY=VALUE,VALUE"),
        ("seed=0;", "'' given, allowed: KEY=VALUE,VALUE"),
        ("seed=", "seed: '' given, allowed: a value of type int"),
        ("seed=0,1.5", "seed: '1.5' given, allowed: a value of type int"),
        ("latent.concentration=high", "'high' given, allowed: a value of type float"),
        ("sed=1", "'sed' given, allowed: seed, latent.concentration, dropout_rate"),
        ("latent.concentraton=1", "did you mean 'latent.concentration'?"),
        ("latent.dimension=3", "'latent.dimension' given, allowed: seed, "),
        ("train.batch_size=3", "'train.batch_size' given, allowed: seed, "),
        ("seed=0;seed=1", "seed is given twice, allowed: each key once"),
        ("seed=1,2,1", "seed=1 is given twice, allowed: each setting once"),
        ("latent.concentration=40,40.0", "latent.concentration=40 is given twice"),
        ("seed=-1", "config.seed: -1 given, allowed: a finite number >= 0"),
        ("dropout_rate=0,1", "config.dropout_rate: 1.0 given, allowed: "),
        ("optimizer.learning_rate=nan", "config.optimizer.learning_rate: nan given"),
        ("kl_weight.schedule=lin", "did you mean 'linear'?"),
    ],
)
def test_mistakes_are_told(text, told):
    assert told in complaint(text)


@pytest.mark.parametrize(
    ("key", "with_effect"),
    [
        ("kl_weight.linear_epochs", {"kl_weight.schedule": "linear"}),
        ("prior.components", {"prior.kind": "vamp"}),
        ("rate.target_step", {"rate.target_nats": 5.0}),
        ("encoder.pooling", {"encoder.kind": "my.encoder"}),
        ("latent.sampler", {"latent.kind": "learned_vmf"}),
        ("latent.concentration", {"latent.kind": "vmf"}),
    ],
)
def test_a_key_acts_beside_some_values_of_another(key, with_effect):
    without = flatten(small_config(latent__kind="gaussian", encoder__kind="bag_of_words"))
    assert without_effect(key, [without]).startswith(f"{key} has no effect with ")
    assert without_effect(key, [without, without | with_effect]) is None
    assert without_effect("seed", [without]) is None


def test_a_given_key_without_effect_is_told(tmp_path, capsys):
    missing = ["--config.data.name=text", f"--config.data.path={tmp_path / 'no'}"]
    with pytest.raises(UserError, match="no"):
        train.main([*missing, "--config.kl_weight.cycles=3", "--config.seed=1"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("config.kl_weight.cycles has no effect with kl_weight.schedule=constant")
    with pytest.raises(UserError, match="no"):
        train.main([*missing, "--config.baselines=", "--config.kl_weight.cycles=3",
                    "--sweep=kl_weight.schedule=constant,cyclical"])  # fmt: skip
    assert not capsys.readouterr().err


def test_what_cannot_be_swept_with_this_model_is_told():
    assert complaint("seed=0", baselines=("none",)).startswith("config.baselines: ('none',) given")
    assert "latent.concentration has no effect with latent.kind=gaussian" in complaint(
        "latent.concentration=1,2", latent__kind="gaussian"
    )
    assert complaint("seed=0,1;optimizer.plateau_divisor=1.2,2").endswith(
        "optimizer.plateau_divisor has no effect with optimizer.schedule=cosine, allowed: "
        "optimizer.schedule plateau"
    )
    assert "kl_weight.cycles has no effect with kl_weight.schedule=constant" in complaint(
        "kl_weight.cycles=2,4"
    )
    # With one of them it has, and the other is trained once.
    one, two = "optimizer.schedule=cosine", "optimizer.schedule=plateau"
    divisors = ";optimizer.plateau_divisor=1.2"
    assert len(replicas_of(f"{one},{two.partition('=')[2]}{divisors}")) == 2
    assert complaint(f"{one},plateau{divisors},2").startswith(
        f"--sweep: {one},optimizer.plateau_divisor=1.2 and {one},optimizer.plateau_divisor=2 are "
        "the same training"
    )


def test_a_name_that_no_folder_can_have_is_told():
    axes = [f"{key}={value}" for key, value in flatten(small_config()).items() if key in SWEEPABLE]
    assert "is too long for a folder; give keys that have one value as --config.KEY" in complaint(
        ";".join(axis for axis in axes if "_divisor" not in axis and "kl_weight.l" not in axis)
    )


def test_a_kind_of_ones_own_says_whether_it_reads_the_concentration(monkeypatch):
    sweep, kind = "latent.concentration=3,6", "extensions.laplace_latent"
    assert f"no effect with latent.kind={kind}, allowed: latent.kind vmf or " in complaint(
        sweep, latent__kind=kind
    )
    monkeypatch.setattr(f"{kind}.KIND", LatentKind(kind, "Laplace", concentration="start"))
    assert len(replicas_of(sweep, latent__kind=kind)) == 2


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ([], "no replica given"),
        ([{"seed": 0}, {"dropout_rate": 0.1}], "keys dropout_rate given, allowed: those of the"),
        ([{"seed": 0}, {}], "keys  given, allowed: those of the first replica, seed"),
        ([{"latent.concentration": "high"}], "'high' given, allowed: a value of type float"),
        ([{"latent.dimension": 3}], "'latent.dimension' given, allowed: seed"),
    ],
)
def test_settings_from_python_are_checked_too(settings, told):
    with pytest.raises(UserError) as caught:
        build_replicas(small_config(), settings)
    assert told in str(caught.value)
