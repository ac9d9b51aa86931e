"""Sweeps: keys that may differ between replicas, their syntax on a command line, the replicas.

One executable serves all replicas, so only keys may differ whose values are arguments of the
compiled step, or are read by the host.
"""

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml_collections import ConfigDict

from spherical_vae.config import base_config
from spherical_vae.config.effects import without_effect
from spherical_vae.config.validation import flatten, type_name, validate
from spherical_vae.system.errors import UserError
from spherical_vae.system.names import require_name

Value = int | float | str
Settings = dict[str, Value]

SWEEPABLE = (
    "seed",
    "latent.concentration",
    "dropout_rate",
    "state_dropout_rate",
    "word_dropout_rate",
    "optimizer.learning_rate",
    "optimizer.schedule",
    "optimizer.warmup_steps",
    "optimizer.final_fraction",
    "optimizer.plateau_divisor",
    "kl_weight.value",
    "kl_weight.schedule",
    "kl_weight.linear_epochs",
    "kl_weight.sigmoid_slope",
    "kl_weight.sigmoid_shift",
    "kl_weight.cycles",
    "kl_weight.rising_fraction",
    "train.early_stopping",
)
# Bytes of the name of a folder that every file system can hold, with room for what is written.
_LONGEST_NAME = 200
_GRAMMAR = "KEY=VALUE,VALUE... for each key, with ';' between keys, as in 'seed=0,1;dropout_rate=0'"


@dataclass(frozen=True)
class Replica:
    """One run of a sweep.

    Attributes:
      name: its settings as `seed=0,latent.concentration=40`, also the name of its folder.
      settings: values by dotted key.
      config: validated and locked: that of a single run with these settings.
    """

    name: str
    settings: Settings
    config: ConfigDict


def parse_sweep(text: str) -> list[Settings]:
    """Returns the product of the axes in `KEY=VALUE,VALUE...;KEY=VALUE...`, the last axis fastest.

    Raises:
      UserError: the syntax is wrong, or a key cannot be swept or is given twice.
    """
    axes: dict[str, list[Value]] = {}
    for axis in text.split(";"):
        key, equals, values = (part.strip() for part in axis.partition("="))
        if not equals:
            raise UserError(f"--sweep: {axis.strip()!r} given, allowed: {_GRAMMAR}")
        require_name("--sweep", key, SWEEPABLE)
        if key in axes:
            raise UserError(f"--sweep: {key} is given twice, allowed: each key once")
        axes[key] = []
        for value in values.split(","):
            try:
                axes[key].append(type(flatten(base_config())[key])(value.strip()))
            except ValueError:
                raise _wrong_type(key, value.strip()) from None
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]


def build_replicas(config: ConfigDict, settings: Sequence[Mapping[str, Value]]) -> list[Replica]:
    """Returns the replicas of a sweep.

    Args:
      config: the validated configuration that they share.
      settings: one mapping for each replica, all with the same keys, from `SWEEPABLE`.

    Raises:
      UserError: there are no settings, or they are invalid, too many for a name, equal or without
        effect.
    """
    if not settings:
        raise UserError("--sweep: no replica given, allowed: at least one")
    if config.baselines:
        raise UserError(
            f"config.baselines: {config.baselines!r} given, allowed: () with --sweep, which trains "
            "one kind of model"
        )
    replicas: dict[str, Replica] = {}
    for values in settings:
        if values.keys() != settings[0].keys():
            raise UserError(
                f"--sweep: keys {', '.join(values)} given, allowed: those of the first replica, "
                f"{', '.join(settings[0])}"
            )
        replica = _build_replica(config, values)
        if len(replica.name.encode()) > _LONGEST_NAME:
            raise UserError(
                f"--sweep: the name {replica.name} is too long for a folder; give keys that have "
                "one value as --config.KEY=VALUE"
            )
        if replica.name in replicas:
            raise UserError(f"--sweep: {replica.name} is given twice, allowed: each setting once")
        replicas[replica.name] = replica
    _check_effects(list(replicas.values()))
    return list(replicas.values())


def _check_effects(replicas: Sequence[Replica]) -> None:
    """Raises a `UserError` if replicas differ by keys without effect, and only seem to differ."""
    leaves = [flatten(replica.config) for replica in replicas]
    for key in replicas[0].settings:
        if problem := without_effect(key, leaves):
            raise UserError(f"--sweep: {problem}")
    alike: dict[tuple, Replica] = {}
    for replica, one in zip(replicas, leaves, strict=True):
        effects = tuple(
            (key, value)
            for key, value in replica.settings.items()
            if not without_effect(key, [one])
        )
        twin = alike.setdefault(effects, replica)
        if twin is not replica:
            raise UserError(
                f"--sweep: {twin.name} and {replica.name} are the same training, as what differs "
                "has no effect there; allowed: one of them, by a --sweep of its own"
            )


def _build_replica(config: ConfigDict, values: Mapping[str, Value]) -> Replica:
    whole = copy.deepcopy(config)
    with whole.unlocked():
        for key, value in values.items():
            require_name("--sweep", key, SWEEPABLE)
            try:
                whole.update_from_flattened_dict({key: value})
            except TypeError:
                raise _wrong_type(key, value) from None
    validate(whole)
    leaves = flatten(whole)  # An int that is given for a float has become one.
    settings = {key: leaves[key] for key in values}
    return Replica(settings_name(settings), settings, whole)


def program_config(config: ConfigDict, replicas: Sequence[Replica]) -> ConfigDict:
    """Returns the configuration of the model that serves all replicas.

    Each rate of states and words is the largest of the replicas: a model with a rate of 0 has no
    such dropout.
    """
    whole = copy.deepcopy(config)
    with whole.unlocked():
        for key in ("state_dropout_rate", "word_dropout_rate"):
            whole[key] = max(replica.config[key] for replica in replicas)
    return whole


def settings_by_name(replicas: Sequence[Replica]) -> dict[str, Settings]:
    """Returns the record of the replicas in a sweep's directory, in their order."""
    return {replica.name: replica.settings for replica in replicas}


def settings_name(settings: Mapping[str, Value]) -> str:
    """Returns `key=value,key=value`: the name of a replica, or of a group of them."""
    return ",".join(f"{key}={str(value).removesuffix('.0')}" for key, value in settings.items())


def _wrong_type(key: str, value: Value) -> UserError:
    kind = type_name(flatten(base_config())[key])
    return UserError(f"--sweep: {key}: {value!r} given, allowed: a value of type {kind}")
