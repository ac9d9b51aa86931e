"""Checks of a configuration, before data are read or anything is compiled."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from spherical_vae.config.defaults import RULES, base_config
from spherical_vae.data.corpora import CORPORA
from spherical_vae.data.settings import check_together
from spherical_vae.models.decoders import DECODERS
from spherical_vae.models.encoders import ENCODERS
from spherical_vae.models.latents import LATENTS, LatentKind
from spherical_vae.system.errors import UserError
from spherical_vae.system.names import nearest_name_hint, require_name
from spherical_vae.system.rules import in_float32

# Keys that only some encoders, decoders and latents read.
_OPTIONAL = sorted(
    {key for kinds in (ENCODERS, DECODERS, LATENTS) for k in kinds.values() for key in k.reads}
)


def apply_variant(
    config: ConfigDict, variant: str | None, variants: Mapping[str, Mapping[str, Any]]
) -> ConfigDict:
    """Returns `config` after applying to it a variant of its config file.

    Args:
      config: the file's configuration, changed in place.
      variant: the name after the colon of `--config=FILE:VARIANT`, or None for the file as it is.
      variants: values by dotted key, by variant.

    Raises:
      UserError: there is no such variant.
    """
    if variant is not None:
        require_name(f"variant of the {config.name} config", variant, variants)
        config.update_from_flattened_dict(variants[variant])
    return config


def flatten(config: ConfigDict | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the leaves of a nested config by dotted key, in alphabetical order."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict | Mapping):
            leaves.update(flatten(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def validate(config: ConfigDict) -> None:
    """Checks a whole configuration, with the keys of `base_config()`.

    Raises:
      UserError: in one line, the dotted key, the given value and what is allowed.
    """
    given, expected = flatten(config), flatten(base_config())
    for key in given:
        if key not in expected:
            hint = nearest_name_hint(f"config.{key}", [f"config.{name}" for name in expected])
            raise UserError(f"config.{key}: there is no such key{hint}")
    for key, default in expected.items():
        if key not in given:
            raise UserError(f"config.{key}: missing; start from spherical_vae.config.base_config()")
        _check_type(f"config.{key}", given[key], default)
        RULES[key](f"config.{key}", given[key])
    for key, allowed in _conflicts(config, given, expected):
        raise UserError(f"config.{key}: {given[key]!r} given, allowed: {allowed}")
    check_together(config.data)


def _check_type(key: str, value: Any, default: Any) -> None:
    # A bool is an int in Python, and an int is allowed for a float; no other types are mixed.
    accepted: tuple[type, ...] = (float, int) if type(default) is float else (type(default),)
    if type(value) not in accepted:
        raise UserError(f"{key}: {value!r} given, allowed: a value of type {type_name(default)}")
    if isinstance(value, tuple) and not all(isinstance(item, str) for item in value):
        raise UserError(f"{key}: {value!r} given, allowed: a tuple of names")


def type_name(default: object) -> str:
    """Returns the type of a key's default value, in words for a user of a command."""
    words = {"int": "int (a whole number)", "str": "str (text)", "bool": "bool (true or false)"}
    name = type(default).__name__
    return words.get(name, name)


# Each key whose value makes no sense beside others, and what is allowed instead.
_Conflicts = Iterator[tuple[str, str]]


def _conflicts(c: ConfigDict, leaves: Mapping[str, Any], defaults: Mapping[str, Any]) -> _Conflicts:
    latents = {name: LATENTS[name] for name in (c.latent.kind, *c.baselines)}
    yield from _keys_without_effect(c, latents, leaves, defaults)
    # Their concentration is a setting, so that their KL under a standard prior is a constant.
    fixed = [
        name
        for name, kind in latents.items()
        if kind.concentration == "fixed"
        or (kind.several_spheres and c.latent.concentrations == "fixed")
    ]
    yield from _latent_conflicts(c, latents, fixed)
    yield from _rate_conflicts(c, latents, fixed)
    yield from _network_conflicts(c)
    if c.train.protocol == "paper" and c.train.samples != 1:
        yield "train.samples", "1 with train.protocol=paper, which takes three samples itself"
    if c.optimizer.weight_decay > 0 and c.optimizer.name != "adamw":
        why = "only adamw decays weights"
        yield "optimizer.weight_decay", f"0.0 with optimizer.name={c.optimizer.name}; {why}"


def _keys_without_effect(
    c: ConfigDict,
    latents: Mapping[str, LatentKind],
    leaves: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> _Conflicts:
    read = ENCODERS[c.encoder.kind].reads | DECODERS[c.decoder.kind].reads
    read = read.union(*(kind.reads for kind in latents.values()))
    for key in _OPTIONAL:
        if leaves[key] != defaults[key] and key not in read:
            parts = f"encoder.kind={c.encoder.kind} and decoder.kind={c.decoder.kind}"
            if key.startswith("latent."):
                parts = f"latent.kind={c.latent.kind} and baselines={c.baselines!r}"
            yield key, f"{defaults[key]} with {parts}, which do not read it"


def _latent_conflicts(
    c: ConfigDict, latents: Mapping[str, LatentKind], fixed: Sequence[str]
) -> _Conflicts:
    latent, own = c.latent, LATENTS[c.latent.kind]
    if latent.dimension < 2 and any(kind.spherical for kind in latents.values()):
        which = f"latent.kind={latent.kind}" if own.spherical else f"baselines={c.baselines!r}"
        yield "latent.dimension", f">= 2 with {which} (the sphere of R^1 is two points)"
    low, high = latent.min_concentration, latent.max_concentration
    if in_float32(low) >= in_float32(high):
        yield "latent.min_concentration", f"below latent.max_concentration={high!r}"
    learned = [name for name, k in latents.items() if k.concentration and name not in fixed]
    if learned and not in_float32(low) < in_float32(latent.concentration) < in_float32(high):
        bounds = f"latent.min_concentration={low!r} and latent.max_concentration={high!r}"
        yield "latent.concentration", f"between {bounds}: the initial value of a learned one"
    each, left = divmod(latent.dimension, latent.spheres)
    if latent.spheres > 1 and not own.several_spheres:
        several = ", ".join(name for name, kind in LATENTS.items() if kind.several_spheres)
        yield "latent.spheres", f"1 with latent.kind={latent.kind}; only {several} has several"
    elif own.several_spheres and (left or each < 2):
        whole = f"a divisor of latent.dimension={latent.dimension}"
        yield "latent.spheres", f"{whole} that leaves each sphere 2 or more"
    if latent.concentration_gradient == "kl_only" and c.prior.kind != "standard":
        why = "under another the KL too is of samples, which pass no gradient to the concentration"
        yield "latent.concentration_gradient", f"exact, or prior.kind=standard: {why}"
    if c.prior.kind != "standard" and c.train.protocol == "paper":
        yield "prior.kind", "standard with train.protocol=paper, whose KL is a formula for it"


def _rate_conflicts(
    c: ConfigDict, latents: Mapping[str, LatentKind], fixed: Sequence[str]
) -> _Conflicts:
    rate, prior = c.rate, c.prior.kind
    why = "whose KL follows from its fixed concentration"
    constant = f"0 with {', '.join(fixed)} and prior.kind=standard, {why}"
    if rate.free_nats > 0 and prior == "standard" and fixed and set(latents) <= {"none", *fixed}:
        yield "rate.free_nats", constant
    if rate.free_nats > 0 and rate.free_nats_per == "factor" and prior != "standard":
        why = "whose KL is not a sum over factors"
        yield "rate.free_nats_per", f"example with prior.kind={prior}, {why}"
    if rate.free_nats > 0 and rate.free_nats_per == "factor" and c.train.protocol == "paper":
        yield "rate.free_nats_per", "example with train.protocol=paper, whose KL is not by factor"
    if rate.target_nats > 0:
        if rate.free_nats > 0:
            why = "the KL has a minimum or a target"
            yield "rate.target_nats", f"0 with rate.free_nats={rate.free_nats!r}: {why}"
        if fixed and prior == "standard":
            yield "rate.target_nats", constant
        if c.latent.kind == "none":
            yield "rate.target_nats", "0 with latent.kind=none, which has no KL"
        if c.kl_weight.value == 0:
            yield "rate.target_nats", "0 with kl_weight.value=0, which the multiplier cannot change"
    if rate.autoencoder_epochs > 0 and "none" in latents:
        kinds = f"latent.kind={c.latent.kind}, baselines={c.baselines!r}"
        yield "rate.autoencoder_epochs", f"0 with {kinds}: none is not an autoencoder"
    if 0 < rate.autoencoder_epochs >= c.train.epochs and c.train.steps == 0:
        yield "rate.autoencoder_epochs", f"less than train.epochs={c.train.epochs}"


def _network_conflicts(c: ConfigDict) -> _Conflicts:
    encoder, decoder = ENCODERS[c.encoder.kind], DECODERS[c.decoder.kind]
    if c.word_dropout_rate > 0 and c.decoder.inputless:
        yield "word_dropout_rate", "0.0 with decoder.inputless, which reads no previous words"
    if c.label_embedding_size > 0 and c.data.label_classes < 1:
        yield "label_embedding_size", "0 unless data.label_classes >= 1 says that there are labels"
    for key, kind in (("encoder.kind", encoder), ("decoder.kind", decoder)):
        if CORPORA[c.data.name].kind == "bags" and kind.sequences:
            why = "whose bags of words have no order"
            yield key, f"bag_of_words with data.name={c.data.name}, {why}"
    if not decoder.min_layers <= c.decoder.layers <= decoder.max_layers:
        too_many = c.decoder.layers > decoder.max_layers
        bound = f"<= {decoder.max_layers}" if too_many else f">= {decoder.min_layers}"
        yield "decoder.layers", f"{bound} with decoder.kind={c.decoder.kind}"
