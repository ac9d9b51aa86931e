"""Settings of a sweep: the keys that may differ, their grammar on a command line, the replicas.

One executable serves all replicas, so only keys can differ whose values reach the compiled step as
arguments, or are read by the host.
"""

import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ml_collections import ConfigDict

from spherical_vae.config import base_config
from spherical_vae.config.validation import flatten, type_name, validate
from spherical_vae.models.latents import LATENTS
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
# Keys that act only with some values of another.
_ACTS_WITH: dict[str, tuple[str, tuple[str, ...]]] = {
    "latent.concentration": (
        "latent.kind",
        tuple(name for name, kind in LATENTS.items() if kind.spherical),
    ),
    "optimizer.final_fraction": ("optimizer.schedule", ("cosine",)),
    "optimizer.plateau_divisor": ("optimizer.schedule", ("plateau",)),
    "kl_weight.linear_epochs": ("kl_weight.schedule", ("linear",)),
    "kl_weight.sigmoid_slope": ("kl_weight.schedule", ("sigmoid",)),
    "kl_weight.sigmoid_shift": ("kl_weight.schedule", ("sigmoid",)),
    "kl_weight.cycles": ("kl_weight.schedule", ("cyclical",)),
    "kl_weight.rising_fraction": ("kl_weight.schedule", ("cyclical",)),
}
_GRAMMAR = "KEY=VALUE,VALUE... for each key, with ';' between keys, as in 'seed=0,1;dropout_rate=0'"


@dataclass(frozen=True)
class Replica:
    """One run of a sweep.

    Attributes:
      name: its settings as `seed=0,latent.concentration=40`; a folder has this name.
      settings: values by dotted key.
      config: whole, validated and locked: that of a single run with these settings.
    """

    name: str
    settings: Settings
    config: ConfigDict


def parse_sweep(text: str) -> list[Settings]:
    """Returns the product of the axes that a command line names, the last axis fastest.

    Args:
      text: `KEY=VALUE,VALUE...;KEY=VALUE...`.

    Raises:
      UserError: no such grammar, a key that cannot be swept, or one that is given twice.
    """
    axes: dict[str, list[Value]] = {}
    for axis in text.split(";"):
        key, equals, values = (part.strip() for part in axis.partition("="))
        if not equals:
            raise UserError(f"--sweep: {axis.strip()!r} given, allowed: {_GRAMMAR}")
        require_name("--sweep", key, SWEEPABLE)
        if key in axes:
            raise UserError(f"--sweep: {key} is given twice, allowed: each key once")
        axes[key] = [_parse_value(key, value.strip()) for value in values.split(",")]
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]


def write_sweep(settings: Sequence[Mapping[str, Value]]) -> list[str]:
    """Returns the texts of which `parse_sweep` makes these settings, one after the other.

    Args:
      settings: one mapping for each replica, all with the same keys in the same order.

    Returns:
      One text where the settings are a product in the order of `parse_sweep`, else one for each.
    """
    axes = {key: list(dict.fromkeys(one[key] for one in settings)) for key in settings[0]}
    product = _write_axes(axes)
    if parse_sweep(product) == list(settings):
        return [product]
    return [_write_axes({key: [value] for key, value in one.items()}) for one in settings]


def build_replicas(config: ConfigDict, settings: Sequence[Mapping[str, Value]]) -> list[Replica]:
    """Returns the replicas of a sweep.

    Args:
      config: what they have in common, whole and validated.
      settings: one mapping for each replica, all with the same keys, out of `SWEEPABLE`.

    Raises:
      UserError: settings that cannot be meant, in one line.
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
        if replica.name in replicas:
            raise UserError(f"--sweep: {replica.name} is given twice, allowed: each setting once")
        replicas[replica.name] = replica
    _refuse_idle_keys(settings[0], list(replicas.values()))
    return list(replicas.values())


def program_config(config: ConfigDict, replicas: Sequence[Replica]) -> ConfigDict:
    """Returns the configuration of the model that serves all replicas.

    A model without dropout of states or words has none at any rate, so each rate is the largest of
    the replicas.
    """
    whole = copy.deepcopy(config)
    with whole.unlocked():
        for key in ("state_dropout_rate", "word_dropout_rate"):
            whole[key] = max(replica.config[key] for replica in replicas)
    return whole


def settings_by_name(replicas: Sequence[Replica]) -> dict[str, Settings]:
    """Returns what a sweep's directory keeps of its replicas, in their order."""
    return {replica.name: replica.settings for replica in replicas}


def _build_replica(config: ConfigDict, values: Mapping[str, Value]) -> Replica:
    whole = copy.deepcopy(config)
    for key in values:
        require_name("--sweep", key, SWEEPABLE)
    with whole.unlocked():
        for key, value in values.items():
            try:
                whole.update_from_flattened_dict({key: value})
            except TypeError:
                raise _wrong_type(key, value) from None
    validate(whole)
    leaves = flatten(whole)  # where a float is meant, an int has become one
    settings = {key: leaves[key] for key in values}
    return Replica(settings_name(settings), settings, whole)


def _refuse_idle_keys(keys: Iterable[str], replicas: Sequence[Replica]) -> None:
    """Refuses a key that changes nothing in any replica: they would only seem to be compared."""
    for key in keys:
        if key not in _ACTS_WITH:
            continue
        other, allowed = _ACTS_WITH[key]
        others = {flatten(replica.config)[other] for replica in replicas}
        if others.isdisjoint(allowed):
            raise UserError(
                f"--sweep: {key} has no effect with {other}={', '.join(sorted(others))}, allowed: "
                f"{other} {' or '.join(allowed)}"
            )


def settings_name(settings: Mapping[str, Value]) -> str:
    """Returns `key=value,key=value`: the name of a replica, or of a group of them."""
    return ",".join(f"{key}={_show(value)}" for key, value in settings.items())


def _parse_value(key: str, text: str) -> Value:
    try:
        return type(flatten(base_config())[key])(text)
    except ValueError:
        raise _wrong_type(key, text) from None


def _wrong_type(key: str, value: Value) -> UserError:
    kind = type_name(flatten(base_config())[key])
    return UserError(f"--sweep: {key}: {value!r} given, allowed: a value of type {kind}")


def _write_axes(axes: Mapping[str, Sequence[Value]]) -> str:
    return ";".join(f"{key}={','.join(map(_show, values))}" for key, values in axes.items())


def _show(value: Value) -> str:
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
