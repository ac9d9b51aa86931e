"""Which configurations are allowed: one table of rules per key, one list of rules between keys.

What the keys mean stands in `config.py`. Nothing here reads data or touches JAX, so a mistake is
reported before anything is compiled.
"""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from spherical_vae.config import base_config
from spherical_vae.errors import UserError

LATENT_KINDS = ("none", "gaussian", "vmf", "learned_vmf")
SPHERICAL_KINDS = ("vmf", "learned_vmf")


def nearest_name_hint(name: object, allowed: Iterable[str]) -> str:
    """Returns `"; did you mean 'x'?"` for the most similar allowed name, or nothing."""
    matches = difflib.get_close_matches(str(name), list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def require_name(what: str, given: object, allowed: Iterable[str]) -> None:
    """Raises a `UserError` unless `given` is one of `allowed`.

    Args:
      what: what is being named, as the message shall call it: a dotted key, "variant of x.py".
      given: the name that was given.
      allowed: the valid names, in the order in which they shall be listed.
    """
    names = tuple(allowed)
    if given not in names:
        listing = ", ".join(names)
        raise UserError(
            f"{what}: {given!r} given, allowed: {listing}{nearest_name_hint(given, names)}"
        )


def flatten(config: ConfigDict | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the leaves of a nested config by dotted key, in the order of the config."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict | Mapping):
            leaves.update(flatten(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


@dataclass(frozen=True)
class _OneOf:
    """A name from a short list."""

    names: tuple[str, ...]

    def check(self, key: str, value: Any) -> None:
        require_name(key, value, self.names)


@dataclass(frozen=True)
class _SomeOf:
    """A tuple of different names from a short list, possibly empty."""

    names: tuple[str, ...]

    def check(self, key: str, value: Any) -> None:
        for name in value:
            require_name(key, name, self.names)
        if len(set(value)) != len(value):
            raise UserError(f"{key}: {value!r} given, allowed: each name once")


@dataclass(frozen=True)
class _Number:
    """A finite number between bounds, each of them included unless it is said to be open."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def check(self, key: str, value: Any) -> None:
        # Comparisons with NaN are false, so the test is for being inside, never for being outside.
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        if not (math.isfinite(value) and above and below):
            raise UserError(f"{key}: {value!r} given, allowed: {self._description()}")

    def _description(self) -> str:
        parts = ["a finite number"]
        if self.low > -math.inf:
            parts.append(f"{'>' if self.low_open else '>='} {self.low:g}")
        if self.high < math.inf:
            parts.append(f"{'and ' if len(parts) > 1 else ''}{'<' if self.high_open else '<='} ")
            parts[-1] += f"{self.high:g}"
        return " ".join(parts)


@dataclass(frozen=True)
class _Text:
    """A string that may not be empty."""

    def check(self, key: str, value: Any) -> None:
        if not value.strip():
            raise UserError(f"{key}: {value!r} given, allowed: a text that is not empty")


@dataclass(frozen=True)
class _Anything:
    """Any value of the right type."""

    def check(self, key: str, value: Any) -> None:
        pass


_ANY = _Anything()
_POSITIVE = _Number(low=0, low_open=True)
_AT_LEAST_0 = _Number(low=0)
_AT_LEAST_1 = _Number(low=1)
_RATE = _Number(low=0, high=1, high_open=True)
_FRACTION = _Number(low=0, high=1, low_open=True, high_open=True)
# JAX keys take a 32-bit seed without x64, and NumPy's generators refuse negative ones.
_SEED = _Number(low=0, high=2**32 - 1)

# Every key of `base_config()` has a rule here; a test holds the two against each other.
_RULES = {
    "name": _Text(),
    "seed": _SEED,
    "baselines": _SomeOf(LATENT_KINDS),
    "data.name": _OneOf(("kjv", "text", "feat")),
    "data.path": _ANY,
    # The unknown word, the end mark and one word.
    "data.vocabulary_size": _Number(low=3),
    "data.max_length": _AT_LEAST_1,
    "data.long_lines": _OneOf(("cut", "drop")),
    "data.label_classes": _AT_LEAST_0,
    "data.valid_fraction": _FRACTION,
    "data.test_fraction": _FRACTION,
    "data.seed": _SEED,
    "data.buckets": _AT_LEAST_1,
    "embedding_size": _AT_LEAST_1,
    "label_embedding_size": _AT_LEAST_0,
    "condition_on_bag": _ANY,
    "dropout_rate": _RATE,
    "encoder.kind": _OneOf(("lstm", "bag_of_words")),
    "encoder.hidden_size": _AT_LEAST_1,
    "encoder.layers": _AT_LEAST_1,
    "encoder.bidirectional": _ANY,
    "encoder.pooling": _OneOf(("last", "mean_max")),
    "encoder.counts": _OneOf(("log", "raw")),
    "latent.kind": _OneOf(LATENT_KINDS),
    "latent.dimension": _AT_LEAST_1,
    "latent.concentration": _AT_LEAST_0,
    "latent.min_concentration": _AT_LEAST_0,
    "latent.max_concentration": _POSITIVE,
    "latent.sampler": _OneOf(("transport", "wood")),
    "latent.unit_variance": _ANY,
    "decoder.kind": _OneOf(("lstm", "bag_of_words")),
    "decoder.inputless": _ANY,
    "decoder.hidden_size": _AT_LEAST_1,
    "decoder.layers": _AT_LEAST_0,
    "kl_weight.schedule": _OneOf(("constant", "linear", "sigmoid")),
    "kl_weight.value": _AT_LEAST_0,
    "kl_weight.linear_epochs": _POSITIVE,
    "kl_weight.sigmoid_slope": _POSITIVE,
    "kl_weight.sigmoid_shift": _Number(),
    "optimizer.name": _OneOf(("sgd", "adam", "adamw")),
    "optimizer.learning_rate": _POSITIVE,
    "optimizer.schedule": _OneOf(("constant", "cosine", "plateau")),
    "optimizer.warmup_steps": _AT_LEAST_0,
    "optimizer.final_fraction": _Number(low=0, high=1),
    "optimizer.plateau_divisor": _Number(low=1, low_open=True),
    "optimizer.clip_norm": _AT_LEAST_0,
    "optimizer.weight_decay": _AT_LEAST_0,
    "train.batch_size": _AT_LEAST_1,
    "train.epochs": _AT_LEAST_1,
    "train.steps": _AT_LEAST_0,
    "train.nats_per": _OneOf(("example", "token")),
    "train.samples": _AT_LEAST_1,
    "train.log_every": _AT_LEAST_1,
    "train.evaluate_every": _AT_LEAST_0,
    "train.checkpoint_every": _AT_LEAST_0,
    "train.early_stopping": _AT_LEAST_0,
    "train.protocol": _OneOf(("honest", "paper")),
    "evaluation.batch_size": _AT_LEAST_1,
    "evaluation.importance_samples": _AT_LEAST_1,
    "evaluation.chunk": _AT_LEAST_1,
}


@dataclass(frozen=True)
class _Conflict:
    """A combination of keys that makes no sense, and what to say of it."""

    when: Callable[[ConfigDict], bool]
    message: Callable[[ConfigDict], str]


_CONFLICTS = (
    _Conflict(
        lambda c: c.latent.kind in SPHERICAL_KINDS and c.latent.dimension < 2,
        lambda c: (
            f"latent.dimension: {c.latent.dimension} given, allowed: >= 2 with "
            f"latent.kind={c.latent.kind} (the sphere of R^1 is two points)"
        ),
    ),
    _Conflict(
        lambda c: bool(set(c.baselines) & set(SPHERICAL_KINDS)) and c.latent.dimension < 2,
        lambda c: (
            f"latent.dimension: {c.latent.dimension} given, allowed: >= 2 with "
            f"baselines={c.baselines!r} (the sphere of R^1 is two points)"
        ),
    ),
    _Conflict(
        lambda c: c.latent.min_concentration >= c.latent.max_concentration,
        lambda c: (
            f"latent.min_concentration: {c.latent.min_concentration!r} given, allowed: "
            f"below latent.max_concentration={c.latent.max_concentration!r}"
        ),
    ),
    _Conflict(
        lambda c: (
            "learned_vmf" in (c.latent.kind, *c.baselines)
            and not c.latent.min_concentration < c.latent.concentration < c.latent.max_concentration
        ),
        lambda c: (
            f"latent.concentration: {c.latent.concentration!r} given, allowed: between "
            f"latent.min_concentration={c.latent.min_concentration!r} and "
            f"latent.max_concentration={c.latent.max_concentration!r}, where learned_vmf starts from it"
        ),
    ),
    _Conflict(
        lambda c: c.data.name != "kjv" and not c.data.path.strip(),
        lambda c: (
            "data.path: '' given, allowed: a folder or zip archive of train, valid and test "
            f"files with data.name={c.data.name}"
        ),
    ),
    _Conflict(
        lambda c: c.data.name == "kjv" and c.data.label_classes > 0,
        lambda c: (
            f"data.label_classes: {c.data.label_classes} given, allowed: 0 with "
            "data.name=kjv, which has no labels"
        ),
    ),
    _Conflict(
        lambda c: c.data.name == "kjv" and c.data.valid_fraction + c.data.test_fraction >= 1,
        lambda c: (
            f"data.test_fraction: {c.data.test_fraction!r} given, allowed: less than 1 "
            f"together with data.valid_fraction={c.data.valid_fraction!r}"
        ),
    ),
    _Conflict(
        lambda c: c.label_embedding_size > 0 and c.data.label_classes < 1,
        lambda c: (
            f"label_embedding_size: {c.label_embedding_size} given, allowed: 0 unless "
            "data.label_classes >= 1 says that there are labels"
        ),
    ),
    _Conflict(
        lambda c: c.data.name == "feat" and c.encoder.kind == "lstm",
        lambda c: (
            "encoder.kind: 'lstm' given, allowed: bag_of_words with data.name=feat, whose "
            "bags of words have no order"
        ),
    ),
    _Conflict(
        lambda c: c.data.name == "feat" and c.decoder.kind == "lstm",
        lambda c: (
            "decoder.kind: 'lstm' given, allowed: bag_of_words with data.name=feat, whose "
            "bags of words have no order"
        ),
    ),
    _Conflict(
        lambda c: c.condition_on_bag and c.decoder.kind != "lstm",
        lambda c: (
            "condition_on_bag: True given, allowed: False with "
            f"decoder.kind={c.decoder.kind}; only the lstm decoder is conditioned on the bag"
        ),
    ),
    _Conflict(
        lambda c: c.decoder.kind == "lstm" and c.decoder.layers < 1,
        lambda c: f"decoder.layers: {c.decoder.layers} given, allowed: >= 1 with decoder.kind=lstm",
    ),
    _Conflict(
        lambda c: c.decoder.kind == "bag_of_words" and c.decoder.layers > 1,
        lambda c: (
            f"decoder.layers: {c.decoder.layers} given, allowed: 0 or 1 with "
            "decoder.kind=bag_of_words"
        ),
    ),
    _Conflict(
        lambda c: c.optimizer.weight_decay > 0 and c.optimizer.name != "adamw",
        lambda c: (
            f"optimizer.weight_decay: {c.optimizer.weight_decay!r} given, allowed: 0.0 with "
            f"optimizer.name={c.optimizer.name}; only adamw decays weights"
        ),
    ),
)


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
        _RULES.get(key, _ANY).check(f"config.{key}", given[key])
    for conflict in _CONFLICTS:
        if conflict.when(config):
            raise UserError(f"config.{conflict.message(config)}")


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
        raise UserError(f"{key}: {value!r} given, allowed: a value of type {_type_name(default)}")
    if isinstance(value, tuple) and not all(isinstance(item, str) for item in value):
        raise UserError(f"{key}: {value!r} given, allowed: a tuple of names")


def _type_name(default: Any) -> str:
    return {"int": "int (a whole number)", "str": "str (text)", "bool": "bool (True or False)"}.get(
        type(default).__name__, type(default).__name__
    )
