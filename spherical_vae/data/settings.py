"""Defaults and allowed values of `config.data`: of configuration, commands and loader alike."""

import re
from collections.abc import Iterable
from typing import Any

from spherical_vae.data.corpora import CORPORA
from spherical_vae.system.errors import UserError
from spherical_vae.system.rules import COUNT, FRACTION, SEED, SIZE, Number, Rule, no_rule, one_of

SETTINGS: dict[str, tuple[Any, Rule]] = {
    # In data/corpora/: kjv, text, feat, ptb, yelp ...; or a module of one's own with a SPEC.
    "name": ("kjv", CORPORA.check),
    # A folder with the files of published corpora, under the names they are published by.
    "manual_dir": ("", no_rule),
    "path": ("", no_rule),  # text, feat: folder or zip of train/valid/test files; else an archive
    # Most frequent words of train; at least the unknown word, the end mark and one word.
    "vocabulary_size": (2000, Number(low=3, high=2**31 - 1)),
    "max_length": (50, SIZE),  # words of a sentence, the end mark not counted
    "long_lines": ("cut", one_of(("cut", "drop"))),  # what happens to longer sentences
    "label_classes": (0, COUNT),  # 0: no labels; n: each line starts with a label in 1..n
    "valid_fraction": (0.05, FRACTION),  # carved from train if there is no valid split
    "test_fraction": (0.05, FRACTION),  # the same for test; of corpora that come as a whole
    "seed": (0, SEED),  # of what is carved, and of the order of batches
    # Where prepared corpora are kept; empty: $XDG_CACHE_HOME or ~/.cache; none: nothing is kept.
    "cache_dir": ("", no_rule),
    "buckets": (2, SIZE),  # number of padded lengths, hence of compiled shapes
}


def with_short_names(arguments: Iterable[str], keys: Iterable[str]) -> list[str]:
    """Returns a command line in which `--config.data.KEY` is `--KEY`, of some keys.

    Messages call flags as training does; commands without a config have the short names.
    """
    pattern = re.compile(rf"^--?config\.data\.(?=({'|'.join(keys)})(=|$))")
    return [pattern.sub("--", argument) for argument in arguments]


def check_settings(config_data: Any) -> None:
    """Raises a `UserError` unless the values of `config.data` are allowed, alone and together."""
    for key, (_, rule) in SETTINGS.items():
        rule(f"config.data.{key}", config_data[key])
    check_together(config_data)


def check_together(config_data: Any) -> None:
    """Raises a `UserError` unless values that are allowed alone fit together and to the corpus."""
    spec = CORPORA[config_data.name]
    with_name = f"with data.name={config_data.name}"
    path, classes = config_data.path.strip(), config_data.label_classes
    if spec.source.path == "required" and not path:
        _raise("path", config_data, f"a folder or zip archive with your own files {with_name}")
    if spec.source.path == "no" and path:
        own = " or ".join(n for n, other in CORPORA.items() if other.source.path == "required")
        elsewhere = "which is not found by a path; your own files are"
        _raise("path", config_data, f"'' {with_name}, {elsewhere} data.name={own}")
    if spec.label_names is not None and classes not in (0, len(spec.label_names)):
        known = f" or {len(spec.label_names)}" if spec.label_names else ""
        _raise("label_classes", config_data, f"0{known} {with_name}")
    if spec.undivided and config_data.valid_fraction + config_data.test_fraction >= 1:
        valid = f"data.valid_fraction={config_data.valid_fraction!r}"
        _raise("test_fraction", config_data, f"less than 1 together with {valid}")


def _raise(key: str, config_data: Any, allowed: str) -> None:
    raise UserError(f"config.data.{key}: {config_data[key]!r} given, allowed: {allowed}")
