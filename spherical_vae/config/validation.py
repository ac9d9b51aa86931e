"""Refusing a configuration that cannot be meant, before data are read or anything is compiled.

What is allowed stands in the tables of `config_rules.py`, what the keys mean in `config.py`.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from spherical_vae.config.defaults import base_config
from spherical_vae.config.rules import CONFLICTS, RULES
from spherical_vae.data.settings import check_together
from spherical_vae.models.decoders import DECODERS
from spherical_vae.system.errors import UserError
from spherical_vae.system.names import nearest_name_hint, require_name


def apply_variant(
    config: ConfigDict, variant: str | None, variants: Mapping[str, Mapping[str, Any]]
) -> ConfigDict:
    """Returns `config` after changing in it what a variant of its config file changes.

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
    """Refuses a configuration that cannot be meant.

    Args:
      config: a whole configuration; its keys must be those of `base_config()`.

    Raises:
      UserError: in one line, the dotted key, the value given and what is allowed.
    """
    given = flatten(config)
    expected = flatten(base_config())
    _check_keys(given, expected)
    for key, default in expected.items():
        _check_type(f"config.{key}", given[key], default)
        RULES[key].check(f"config.{key}", given[key])
    for conflict in CONFLICTS:
        if conflict.when(config):
            allowed = conflict.allowed.format(c=config, decoder=DECODERS[config.decoder.kind])
            value = given[conflict.key]
            raise UserError(f"config.{conflict.key}: {value!r} given, allowed: {allowed}")
    check_together(config.data)


def _check_keys(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for key in given:
        if key not in expected:
            hint = nearest_name_hint(f"config.{key}", [f"config.{name}" for name in expected])
            raise UserError(f"config.{key}: there is no such key{hint}")
    for key in expected:
        if key not in given:
            raise UserError(f"config.{key}: missing; start from spherical_vae.config.base_config()")


def _check_type(key: str, value: Any, default: Any) -> None:
    # bool is an int in Python, and an int will do where a float is meant; nothing else is mixed.
    accepted: tuple[type, ...] = (float, int) if type(default) is float else (type(default),)
    if type(value) not in accepted:
        raise UserError(f"{key}: {value!r} given, allowed: a value of type {type_name(default)}")
    if isinstance(value, tuple) and not all(isinstance(item, str) for item in value):
        raise UserError(f"{key}: {value!r} given, allowed: a tuple of names")


def type_name(default: object) -> str:
    """Returns the type of a key's default value, in words that a command line can use."""
    name = type(default).__name__
    return {"int": "int (a whole number)", "str": "str (text)", "bool": "bool (true or false)"}.get(
        name, name
    )
