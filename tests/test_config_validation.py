"""Each rule refuses what it must, in one line that names key, value and what is allowed."""

import math

import pytest

from spherical_vae.config import base_config
from spherical_vae.config.defaults import RULES
from spherical_vae.config.validation import apply_variant, flatten, validate
from spherical_vae.system.errors import UserError

INTEGERS = [key for key, value in flatten(base_config()).items() if type(value) is int]
FLOATS = [key for key, value in flatten(base_config()).items() if type(value) is float]


def changed(**changes):
    """Returns the base configuration with changes by key, `__` for the dot."""
    config = base_config()
    config.update_from_flattened_dict({key.replace("__", "."): v for key, v in changes.items()})
    return config


def complaint(config):
    with pytest.raises(UserError) as caught:
        validate(config)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_base_configuration_is_valid():
    validate(base_config())


def test_every_key_has_a_rule_and_every_rule_a_key():
    keys = list(flatten(base_config()))
    assert sorted(RULES) == sorted(keys)


@pytest.mark.parametrize(
    ("key", "name", "nearest"),
    [
        ("data.name", "kjw", "kjv"),
        ("data.long_lines", "cutt", "cut"),
        ("encoder.kind", "lsmt", "lstm"),
        ("encoder.kind", "bag-of-words", "bag_of_words"),
        ("encoder.pooling", "meanmax", "mean_max"),
        ("encoder.counts", "logs", "log"),
        ("latent.kind", "gausian", "gaussian"),
        ("latent.kind", "vMF", "vmf"),
        ("latent.kind", "learned-vmf", "learned_vmf"),
        ("latent.sampler", "woods", "wood"),
        ("decoder.kind", "lstmm", "lstm"),
        ("kl_weight.schedule", "sigmoidal", "sigmoid"),
        ("kl_weight.schedule", "cyclic", "cyclical"),
        ("optimizer.name", "adamW", "adamw"),
        ("optimizer.schedule", "plato", "plateau"),
        ("train.nats_per", "tokens", "token"),
        ("train.protocol", "Honest", "honest"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(key, name, nearest):
    message = complaint(changed(**{key: name}))
    assert message.startswith(f"config.{key}: {name!r} given, allowed: ")
    assert message.endswith(f"did you mean {nearest!r}?")


def test_a_name_like_no_other_has_no_suggestion():
    message = complaint(changed(optimizer__name="zzz"))
    assert message == "config.optimizer.name: 'zzz' given, allowed: sgd, adam, adamw"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("latent.dimension", 0),
        ("latent.dimension", -3),
        ("latent.concentration", -1e-9),
        ("latent.min_concentration", -1.0),
        ("optimizer.learning_rate", 0.0),
        ("optimizer.learning_rate", -1e-3),
        ("optimizer.plateau_divisor", 1.0),
        ("optimizer.final_fraction", 1.01),
        ("optimizer.clip_norm", -1.0),
        ("optimizer.warmup_steps", -1),
        ("dropout_rate", 1.0),
        ("dropout_rate", -0.1),
        # 1 and 0 in float32.
        ("dropout_rate", 0.99999999),
        ("latent.min_concentration", 1e-40),
        ("latent.concentration", 2e12),
        ("data.valid_fraction", 0.0),
        ("data.test_fraction", 1.0),
        ("data.vocabulary_size", 2),
        ("data.max_length", 0),
        ("data.buckets", 0),
        ("data.label_classes", -1),
        ("kl_weight.value", -0.5),
        ("kl_weight.linear_epochs", 0.0),
        ("kl_weight.cycles", 0),
        ("kl_weight.rising_fraction", 0.0),
        ("kl_weight.rising_fraction", 1.5),
        ("train.batch_size", 0),
        ("train.epochs", 0),
        ("train.steps", -1),
        ("train.steps", 10**400),
        ("train.samples", 0),
        ("train.log_every", 0),
        ("evaluation.importance_samples", 0),
        ("evaluation.chunk", 0),
        ("seed", -1),
        ("data.seed", 2**32),
    ],
)
def test_numbers_out_of_range_are_refused(key, value):
    message = complaint(changed(**{key: value}))
    assert message.startswith(f"config.{key}: {value!r} given, allowed: a finite number ")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39])
@pytest.mark.parametrize("key", FLOATS)
def test_no_number_may_be_other_than_finite_in_float32(key, value):
    assert complaint(changed(**{key: value})).startswith(f"config.{key}: {value!r} given")


@pytest.mark.parametrize("key", INTEGERS)
def test_whole_numbers_are_bounded(key):
    assert complaint(changed(**{key: 2**62})).startswith(f"config.{key}: ")


@pytest.mark.parametrize(
    ("changes", "key", "why"),
    [
        ({"latent.dimension": 1}, "latent.dimension", "latent.kind=vmf"),
        ({"latent.dimension": 1, "latent.kind": "learned_vmf"}, "latent.dimension", "two points"),
        (
            {"latent.dimension": 1, "latent.kind": "gaussian", "baselines": ("vmf",)},
            "latent.dimension",
            "baselines=('vmf',)",
        ),
        ({"latent.min_concentration": 1000.0}, "latent.min_concentration", "below"),
        (
            {"latent.kind": "learned_vmf", "latent.concentration": 0.5},
            "latent.concentration",
            "between latent.min_concentration=1.0 and latent.max_concentration=1000.0",
        ),
        # Equal in float32.
        (
            {
                "latent.kind": "learned_vmf",
                "latent.concentration": 30.0,
                "latent.min_concentration": 29.9999999,
            },
            "latent.concentration",
            "between latent.min_concentration=29.9999999 and",
        ),
        (
            {"latent.concentration_gradient": "kl_only"},
            "latent.concentration_gradient",
            "exact with latent.kind=vmf and baselines=('none', 'gaussian'), which do not read it",
        ),
        (
            {"latent.concentrations": "fixed", "latent.kind": "power_spherical"},
            "latent.concentrations",
            "learned_each with latent.kind=power_spherical",
        ),
        ({"latent.range": "clipped", "latent.kind": "gaussian"}, "latent.range", "smooth with"),
        (
            {"encoder.bidirectional": True, "encoder.kind": "bag_of_words"},
            "encoder.bidirectional",
            "do not read it",
        ),
        ({"encoder.counts": "raw"}, "encoder.counts", "encoder.kind=lstm"),
        ({"data.name": "text"}, "data.path", "data.name=text"),
        ({"data.name": "text", "data.path": "  "}, "data.path", "folder or zip archive"),
        ({"data.path": "my_text"}, "data.path", "your own files are data.name=text"),
        ({"data.label_classes": 5}, "data.label_classes", "data.name=kjv"),
        (
            {"data.valid_fraction": 0.5, "data.test_fraction": 0.5},
            "data.test_fraction",
            "data.valid_fraction=0.5",
        ),
        (
            {"data.name": "yelp10k", "data.valid_fraction": 0.5, "data.test_fraction": 0.5},
            "data.test_fraction",
            "data.valid_fraction=0.5",
        ),
        (
            {
                "compute.dtype": "bfloat16",
                "encoder.kind": "bag_of_words",
                "decoder.kind": "bag_of_words",
            },
            "compute.dtype",
            "do not read it",
        ),
        ({"label_embedding_size": 50}, "label_embedding_size", "data.label_classes"),
        ({"data.name": "feat", "data.path": "x"}, "encoder.kind", "no order"),
        (
            {"data.name": "feat", "data.path": "x", "encoder.kind": "bag_of_words"},
            "decoder.kind",
            "no order",
        ),
        (
            {"condition_on_bag": True, "decoder.kind": "bag_of_words"},
            "condition_on_bag",
            "decoder.kind=bag_of_words",
        ),
        ({"decoder.layers": 0}, "decoder.layers", ">= 1 with decoder.kind=lstm"),
        (
            {"decoder.kind": "bag_of_words", "decoder.layers": 2},
            "decoder.layers",
            "<= 1 with decoder.kind=bag_of_words",
        ),
        ({"optimizer.weight_decay": 0.1}, "optimizer.weight_decay", "only adamw"),
        ({"latent.spheres": 2}, "latent.spheres", "1 with latent.kind=vmf"),
        (
            {"latent.kind": "product_vmf", "latent.spheres": 3},
            "latent.spheres",
            "a divisor of latent.dimension=8",
        ),
        (
            {"latent.kind": "product_vmf", "latent.spheres": 8},
            "latent.spheres",
            "leaves each sphere 2 or more",
        ),
        (
            {
                "latent.kind": "learned_vmf",
                "latent.concentration_gradient": "kl_only",
                "prior.kind": "vamp",
            },
            "latent.concentration_gradient",
            "exact, or prior.kind=standard",
        ),
        (
            {"prior.kind": "mixture", "train.protocol": "paper"},
            "prior.kind",
            "standard with train.protocol=paper",
        ),
        (
            {"rate.free_nats": 2.0, "rate.free_nats_per": "factor", "prior.kind": "vamp"},
            "rate.free_nats_per",
            "example with prior.kind=vamp",
        ),
        (
            {
                "latent.kind": "product_vmf",
                "latent.spheres": 4,
                "rate.free_nats": 2.0,
                "rate.free_nats_per": "factor",
                "train.protocol": "paper",
            },
            "rate.free_nats_per",
            "example with train.protocol=paper",
        ),
        (
            {"rate.target_nats": 2.0, "rate.free_nats": 3.0},
            "rate.target_nats",
            "0 with rate.free_nats=3.0",
        ),
        (
            {"rate.free_nats": 2.0, "baselines": ("none",)},
            "rate.free_nats",
            "0 with vmf and prior.kind=standard",
        ),
        ({"rate.target_nats": 2.0, "latent.kind": "none"}, "rate.target_nats", "no KL"),
        ({"rate.target_nats": 2.0}, "rate.target_nats", "0 with vmf and prior.kind=standard"),
        (
            {"rate.target_nats": 2.0, "latent.kind": "gaussian", "baselines": ("vmf",)},
            "rate.target_nats",
            "0 with vmf and",
        ),
        (
            {
                "rate.target_nats": 2.0,
                "latent.kind": "product_vmf",
                "latent.concentrations": "fixed",
            },
            "rate.target_nats",
            "0 with product_vmf and",
        ),
        (
            {"rate.target_nats": 2.0, "kl_weight.value": 0.0, "latent.kind": "learned_vmf"},
            "rate.target_nats",
            "0 with kl_weight.value=0",
        ),
        (
            {
                "rate.autoencoder_epochs": 1,
                "train.epochs": 3,
                "latent.kind": "none",
                "baselines": (),
            },
            "rate.autoencoder_epochs",
            "0 with latent.kind=none",
        ),
        (
            {"rate.autoencoder_epochs": 1, "train.epochs": 3, "baselines": ("none",)},
            "rate.autoencoder_epochs",
            "baselines=('none',)",
        ),
        (
            {"rate.autoencoder_epochs": 3, "train.epochs": 3, "baselines": ()},
            "rate.autoencoder_epochs",
            "less than train.epochs=3",
        ),
        (
            {"decoder.tied_embeddings": True, "decoder.kind": "bag_of_words"},
            "decoder.tied_embeddings",
            "decoder.kind=bag_of_words, which do not read it",
        ),
        ({"decoder.skip": True}, "decoder.skip", "decoder.kind=lstm, which do not read it"),
        (
            {"state_dropout_rate": 0.1, "decoder.kind": "bag_of_words"},
            "state_dropout_rate",
            "do not read it",
        ),
        ({"word_dropout_rate": 0.1}, "word_dropout_rate", "reads no previous words"),
        (
            {
                "word_dropout_rate": 0.1,
                "decoder.inputless": False,
                "decoder.kind": "bag_of_words",
            },
            "word_dropout_rate",
            "do not read it",
        ),
        (
            {
                "dropout_mask": "sentence",
                "encoder.kind": "bag_of_words",
                "decoder.kind": "bag_of_words",
            },
            "dropout_mask",
            "do not read it",
        ),
    ],
)
def test_kinds_that_cannot_combine_are_refused(changes, key, why):
    message = complaint(changed(**changes))
    value = flatten(changed(**changes))[key]
    assert message.startswith(f"config.{key}: {value!r} given, allowed: ")
    assert why in message


@pytest.mark.parametrize(
    "changes",
    [
        {"latent.kind": "gaussian", "latent.dimension": 1},
        {"latent.concentration": 0.0},
        {"optimizer.name": "adamw", "optimizer.weight_decay": 0.1},
        {"optimizer.clip_norm": 0.0},
        {"condition_on_bag": True},
        {"decoder.kind": "bag_of_words", "decoder.layers": 0},
        {"decoder.layers": 3, "encoder.layers": 2},
        {"data.name": "text", "data.path": "x", "data.label_classes": 2, "label_embedding_size": 3},
        {"baselines": ()},
        {"latent.kind": "product_vmf", "latent.spheres": 4},
        {
            "latent.kind": "product_vmf",
            "latent.concentrations": "fixed",
            "latent.concentration": 2000.0,
        },
        {"latent.concentration_gradient": "kl_only", "baselines": ("learned_vmf",)},
        {"rate.free_nats": 2.0, "baselines": ("gaussian",)},
        {"rate.free_nats": 2.0, "rate.free_nats_per": "factor"},
        {"rate.target_nats": 2.0, "prior.kind": "mixture"},
        {"rate.autoencoder_epochs": 2, "train.epochs": 3, "baselines": ("gaussian",)},
        {"rate.autoencoder_epochs": 2, "train.steps": 10_000, "baselines": ()},
        {
            "decoder.tied_embeddings": True,
            "decoder.inputless": False,
            "word_dropout_rate": 0.3,
            "state_dropout_rate": 0.3,
            "dropout_mask": "sentence",
        },
        {"decoder.kind": "bag_of_words", "decoder.skip": True},
        {"compute.dtype": "bfloat16", "encoder.kind": "bag_of_words"},
        {"data.name": "ptb", "data.path": "x", "data.valid_fraction": 0.9},
        {"seed": 2**32 - 1},
    ],
)
def test_what_makes_sense_is_accepted(changes):
    validate(changed(**changes))


def test_baselines_are_names_of_latent_kinds_each_once():
    assert "did you mean 'gaussian'" in complaint(changed(baselines=("none", "gaussien")))
    assert "each name once" in complaint(changed(baselines=("none", "none")))


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("latent.dimension", "3", "int"),
        ("latent.dimension", True, "int"),
        ("latent.dimension", 3.0, "int"),
        ("latent.concentration", "3", "float"),
        ("latent.concentration", None, "float"),
        ("latent.concentration", True, "float"),
        ("latent.unit_variance", 1, "bool"),
        ("name", 3, "str"),
        ("baselines", ["none"], "tuple"),
    ],
)
def test_wrong_types_are_refused(key, value, kind):
    config = base_config()
    group, _, name = key.rpartition(".")
    parent = config[group] if group else config
    # Only a key that is new takes any type; ConfigDict converts or refuses otherwise.
    del parent[name]
    parent[name] = value
    message = complaint(config)
    assert message.startswith(f"config.{key}: {value!r} given, allowed: a value of type {kind}")


def test_baselines_hold_names():
    assert "a tuple of names" in complaint(changed(baselines=(1,)))


def test_an_int_will_do_for_a_float():
    config = base_config()
    del config.latent.concentration
    config.latent.concentration = 80
    assert type(config.latent.concentration) is int
    validate(config)


def test_unknown_and_missing_keys_are_named():
    config = base_config()
    config.latent.concentraton = 3.0
    assert complaint(config) == (
        "config.latent.concentraton: there is no such key; "
        "did you mean 'config.latent.concentration'?"
    )
    config = base_config()
    del config.latent.kind
    assert complaint(config).startswith("config.latent.kind: missing")


def test_an_empty_name_is_refused():
    assert complaint(changed(name=" ")).startswith("config.name: ' ' given")


def test_variants_change_what_they_name():
    variants = {"small": {"latent.dimension": 2}}
    assert apply_variant(base_config(), "small", variants).latent.dimension == 2
    assert apply_variant(base_config(), None, variants) == base_config()
    with pytest.raises(UserError, match=r"kjv config: 'smal' given.*did you mean 'small'"):
        apply_variant(base_config(), "smal", variants)
