"""Every config file and each of its variants loads, validates and is a short delta of the base."""

import importlib.util
from pathlib import Path

import pytest

from spherical_vae.command_line import load_config_file
from spherical_vae.config import base_config
from spherical_vae.config_validation import flatten, validate
from spherical_vae.errors import UserError

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _selections():
    for path in CONFIGS:
        yield pytest.param(str(path), id=path.stem)
        for variant in _module(path).VARIANTS:
            yield pytest.param(f"{path}:{variant}", id=f"{path.stem}:{variant}")


def test_the_configs_are_there():
    assert {path.stem for path in CONFIGS} >= {"kjv", "news20", "ptb", "text", "yelp"}


@pytest.mark.parametrize("selected", list(_selections()))
def test_config_is_valid(selected):
    validate(load_config_file(selected))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_named_and_recorded(path):
    assert load_config_file(str(path)).name == path.stem
    for field in ("Paper row:", "Command:", "Device:", "Expected:"):
        assert field in _module(path).__doc__


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_made_afresh_by_each_call(path):
    first = load_config_file(str(path))
    first.latent.dimension = 7
    assert load_config_file(str(path)).latent.dimension != 7


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_unknown_variant_is_refused_with_the_nearest(path):
    variants = list(_module(path).VARIANTS)
    with pytest.raises(UserError, match=f"did you mean '{variants[-1]}'"):
        load_config_file(f"{path}:{variants[-1]}x")


def test_kjv_is_the_base_configuration():
    assert load_config_file(str(CONFIGS[0].parent / "kjv.py")) == base_config()


def test_variants_of_ptb_are_the_papers_two_settings():
    ptb = str(CONFIGS[0].parent / "ptb.py")
    standard, inputless = load_config_file(ptb), load_config_file(f"{ptb}:inputless")
    differing = {
        key for key, value in flatten(standard).items() if value != flatten(inputless)[key]
    }
    assert differing == {"decoder.inputless", "latent.dimension", "latent.concentration"}
    assert (inputless.latent.dimension, inputless.latent.concentration) == (50, 80.0)
